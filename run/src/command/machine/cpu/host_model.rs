//! The CPU of the host in the words of libvirt's map of CPU models of x86.

use std::cell::OnceCell;

use capscache_domain::DomainType;
use capscache_format::{Accelerated, CpuModel};
use capscache_libvirt::{CpuMap, Emulator, GuestCpu, HostCpu};

use crate::context::{Context, LIBVIRT};
use crate::error::Error;
use crate::view::View;

/// The CPU of the host, which is read once a guest depends on it.
pub(super) struct Host<'a> {
    cx: &'a Context<'a>,
    view: View<'a>,
    known: OnceCell<Known<'a>>,
}

/// libvirt's map, the models of the emulator with the features that the host lacks, and the CPU of the host.
pub(super) struct Known<'a> {
    pub(super) map: CpuMap,
    models: Vec<(&'a str, Vec<&'a str>)>,
    host: HostCpu,
    has_registers: bool,
    view: View<'a>,
}

impl<'a> Host<'a> {
    pub(super) fn new(cx: &'a Context<'a>, view: View<'a>) -> Host<'a> {
        Host { cx, view, known: OnceCell::new() }
    }

    /// Returns true if the CPU of the host has features that the emulator does not report.
    pub(super) fn is_partial(&self) -> bool {
        self.cx.guest.r#type != DomainType::Qemu
    }

    /// Returns the models of the emulator.
    pub(super) fn models(&self) -> impl Iterator<Item = CpuModel<'a>> + use<'a> {
        self.cx.accelerated().into_iter().flat_map(Accelerated::cpu_models)
    }

    /// Checks that libvirt has features of these names. Without its map it does not matter.
    pub(super) fn check_features(&self, names: &[&str]) -> Result<(), Error> {
        let Some(folder) = self.cx.host.cpu_map.as_deref().filter(|_| !names.is_empty()) else {
            return Ok(());
        };
        let Ok(map) = CpuMap::read_features(folder, names) else { return Ok(()) };
        if let Some(name) = names.iter().find(|name| !map.has_feature(name)) {
            let what = format!("{name:?} is not a feature of x86 that libvirt has");
            return Err(self.view.invalid("feature", what));
        }
        match names.iter().find(|name| !self.has_registers() && map.is_of_registers(name)) {
            None => Ok(()),
            Some(name) => Err(self.view.lacks("feature", format!("a report of {name}"))),
        }
    }

    /// Returns true if the emulator reports features of model-specific registers, as far as libvirt reads it.
    fn has_registers(&self) -> bool {
        self.cx.has_flag("cpu-unavailable-features")
    }

    /// Reads libvirt's map and the CPU of the host.
    pub(super) fn known(&self) -> Result<&Known<'a>, Error> {
        match self.known.get() {
            Some(known) => Ok(known),
            None => {
                let known = self.read()?;
                Ok(self.known.get_or_init(|| known))
            }
        }
    }

    /// Returns what was read.
    pub(super) fn known_already(&self) -> Option<&Known<'a>> {
        self.known.get()
    }

    fn read(&self) -> Result<Known<'a>, Error> {
        let unsupported = |what: String| Err(self.view.unsupported("", what));
        // Other hosts emulate x86, and libvirt has no model of them for it.
        if !matches!(std::env::consts::ARCH, "x86" | "x86_64") {
            return unsupported("the host is not of x86; name a model, with check='none'".into());
        }
        let hint = "install libvirt's package that has the map (libvirt-common), or use \
                    host-passthrough, or a model with check='none'";
        let Some(folder) = &self.cx.host.cpu_map else {
            return unsupported(format!("it needs libvirt's map of CPU models; {hint}"));
        };
        let map = match CpuMap::read(folder) {
            Ok(map) => map,
            Err(error) => {
                let cause = std::error::Error::source(&error);
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                return unsupported(format!("{error}{cause}; {hint}"));
            }
        };
        let Some(host) = Emulator::of(self.cx.entry, LIBVIRT).whole_host_cpu(self.cx.accelerator())
        else {
            let what = "the emulator does not report the CPU of the host; name a model";
            return Err(self.view.invalid("@mode", what));
        };
        let blockers = |model: CpuModel<'a>| model.unavailable_features().into_iter().flatten();
        let models = self.models().map(|model| (model.name(), blockers(model).collect()));
        let has_registers = self.has_registers();
        Ok(Known { map, models: models.collect(), host, has_registers, view: self.view })
    }
}

impl Known<'_> {
    /// Returns the CPU of the host as the emulator reports it, or what of it guests have that can be migrated.
    pub(super) fn cpu(&self, can_migrate: bool) -> Result<GuestCpu, Error> {
        let Some(mut cpu) = self.map.host_model(&self.host, &self.models, can_migrate) else {
            return Err(self.view.invalid("", "no model is close to the CPU of the host"));
        };
        cpu.features.retain(|(name, _)| self.has_registers || !self.map.is_of_registers(name));
        Ok(cpu)
    }

    /// Returns the model of the emulator that is closest to one that it does not have.
    pub(super) fn translate(&self, cpu: &GuestCpu) -> Result<GuestCpu, Error> {
        let translated = self.map.translate(cpu, &self.models);
        translated.ok_or_else(|| self.view.lacks("model", format!("a model like {}", cpu.model)))
    }
}
