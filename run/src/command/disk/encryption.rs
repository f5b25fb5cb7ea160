//! Encryption of images.

use crate::command::disk::format::Format;
use crate::command::secrets;
use crate::context::Context;
use crate::error::Error;
use crate::props::Props;
use crate::secret::SecretUsage;
use crate::view::View;

/// The encryption of an image.
pub(super) struct Encryption<'a> {
    view: View<'a>,
    /// The format, in libvirt's words.
    format: &'static str,
    engine: Engine,
    /// The objects with the keys.
    pub(super) objects: Vec<Props>,
    /// The ids of the objects.
    keys: Vec<String>,
}

/// The program that decrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Qemu,
    Librbd,
}

impl<'a> Encryption<'a> {
    /// Reads the encryption in a source, or beside it.
    pub(super) fn read(
        source: View<'a>,
        outer: Option<View<'a>>,
    ) -> Result<Option<Encryption<'a>>, Error> {
        let outer = outer.and_then(|outer| outer.child("encryption"));
        let view = match (source.child("encryption"), outer) {
            (Some(_), Some(both)) => {
                return Err(both.invalid("", "the source has an encryption too; remove one"));
            }
            (inner, outer) => inner.or(outer),
        };
        let Some(view) = view else { return Ok(None) };
        view.require("@format")?;
        let formats = ["luks", "luks2", "luks-any"];
        let format = view.one_of("@format", &formats)?.unwrap_or_default();
        let engine = match view.one_of("@engine", &["qemu", "librbd"])? {
            Some("librbd") => Engine::Librbd,
            _ => Engine::Qemu,
        };
        Ok(Some(Encryption { view, format, engine, objects: Vec::new(), keys: Vec::new() }))
    }

    /// Returns true if an image of a format has the encryption as its format.
    pub(super) fn is_luks(&self, format: Format) -> bool {
        format == Format::RAW && self.engine == Engine::Qemu && self.format == "luks"
    }

    /// Checks the encryption, and obtains its keys.
    pub(super) fn prepare(
        &mut self,
        cx: &Context<'_>,
        prefix: &str,
        format: Format,
    ) -> Result<(), Error> {
        self.check(cx, format)?;
        for (index, secret) in self.view.children("secret").enumerate() {
            secret.require("@type")?;
            secret.one_of("@type", &["passphrase"])?;
            let key = format!("{prefix}-encryption-secret{index}");
            self.objects.push(secrets::object(cx, secret, SecretUsage::Volume, &key)?);
            self.keys.push(key);
        }
        match (self.engine, self.keys.len()) {
            (_, 0) => Err(self.view.invalid("", "it has no secret; add one")),
            (Engine::Qemu, 2..) => Err(self.view.invalid("", "QEMU decrypts with one secret only")),
            _ => Ok(()),
        }
    }

    fn check(&self, cx: &Context<'_>, format: Format) -> Result<(), Error> {
        let has = |path: &str| {
            cx.entry.schema().has(&format!("blockdev-add/arg-type/+rbd/{path}")).is_yes()
        };
        let layers = self.view.elements().filter(|child| child.name() == "secret").count();
        match self.engine {
            Engine::Qemu if self.format != "luks" => {
                Err(self.view.invalid("@format", "QEMU decrypts only luks; use the engine librbd"))
            }
            Engine::Qemu if format != Format::RAW && format != Format::QCOW2 => {
                Err(self.view.invalid("", "only images in the formats raw and qcow2 are encrypted"))
            }
            Engine::Qemu => Ok(()),
            Engine::Librbd if !has("encrypt") => {
                Err(self.view.lacks("@engine", "decryption by librbd"))
            }
            Engine::Librbd if layers > 1 && !has("encrypt/parent") => {
                Err(self.view.lacks("", "decryption of several layers"))
            }
            Engine::Librbd if self.format == "luks-any" && !has("encrypt/format/^luks-any") => {
                Err(self.view.lacks("@format", "decryption of any version of luks"))
            }
            Engine::Librbd => Ok(()),
        }
    }

    /// Returns true if the storage decrypts.
    pub(super) fn is_of_storage(&self) -> bool {
        self.engine == Engine::Librbd
    }

    /// Returns the id of the only key.
    pub(super) fn key(&self) -> Option<&str> {
        self.keys.first().map(String::as_str)
    }

    /// Returns the option of the formats qcow and qcow2.
    pub(super) fn qcow_props(&self) -> Option<Props> {
        let key = self.key().filter(|_| self.engine == Engine::Qemu)?;
        Some(Props::default().with("format", self.format).with("key-secret", key))
    }

    /// Returns the option of storage that decrypts: the first key is that of the top layer.
    pub(super) fn storage_props(&self) -> Option<Props> {
        if self.engine != Engine::Librbd {
            return None;
        }
        self.keys.iter().rev().fold(None, |parent, key| {
            let props =
                Props::default().with("format", self.format).with("key-secret", key.as_str());
            Some(props.with_some("parent", parent))
        })
    }
}
