//! The devices of a guest in libvirt's order.

use capscache_domain::{
    Controller, ControllerModel, ControllerType, Device, DeviceKind, Disk, DiskBus, Kind,
};

use crate::target::disk_index;

/// A device of [`Devices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(usize);

/// The devices of a guest: those of a kind are in libvirt's order, on which numbers and addresses depend.
#[derive(Debug)]
pub(crate) struct Devices {
    all: Vec<Device>,
    kinds: Vec<Vec<Id>>,
}

impl Id {
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

impl Devices {
    /// Takes devices as they were read.
    pub(crate) fn new(devices: Vec<Device>) -> Devices {
        let kinds = Kind::ALL.iter().map(|_| Vec::new()).collect();
        let mut all = Devices { all: Vec::with_capacity(devices.len() + 8), kinds };
        for device in devices {
            all.insert_at(device, |devices, device| match &device.device {
                // Sorted once all are there.
                DeviceKind::Disk(_) => devices.of(Kind::Disk).len(),
                _ => devices.position(device),
            });
        }
        all.sort_disks();
        all
    }

    /// The devices in libvirt's order.
    pub(crate) fn into_vec(self) -> Vec<Device> {
        let mut all: Vec<Option<Device>> = self.all.into_iter().map(Some).collect();
        let ordered = self.kinds.iter().flatten();
        ordered.filter_map(|id| all.get_mut(id.0).and_then(Option::take)).collect()
    }

    /// The devices in libvirt's order, as positions in [`Devices::into_vec`].
    pub(crate) fn order(&self) -> Vec<Id> {
        self.kinds.iter().flatten().copied().collect()
    }

    /// Adds a device at its place among those of its kind.
    pub(crate) fn insert(&mut self, device: Device) -> Id {
        self.insert_at(device, Devices::position)
    }

    fn insert_at(&mut self, device: Device, position: fn(&Devices, &Device) -> usize) -> Id {
        let kind = device.device.kind();
        let position = position(self, &device);
        let id = Id(self.all.len());
        self.all.push(device);
        self.kinds[kind as usize].insert(position, id);
        id
    }

    /// The devices of a kind.
    pub(crate) fn of(&self, kind: Kind) -> &[Id] {
        &self.kinds[kind as usize]
    }

    /// The devices of a kind, as a copy that does not borrow.
    pub(crate) fn ids(&self, kind: Kind) -> Vec<Id> {
        self.of(kind).to_vec()
    }

    pub(crate) fn get(&self, id: Id) -> &Device {
        &self.all[id.0]
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> &mut Device {
        &mut self.all[id.0]
    }

    /// All devices, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, &Device)> {
        self.all.iter().enumerate().map(|(at, device)| (Id(at), device))
    }

    /// The controllers of a type.
    pub(crate) fn controllers(
        &self,
        of: ControllerType,
    ) -> impl Iterator<Item = (Id, &Controller)> {
        let all = self.of(Kind::Controller).iter();
        let all = all.filter_map(|id| Some((*id, self.get(*id).controller()?)));
        all.filter(move |(_, controller)| controller.r#type == of)
    }

    /// Returns true if a USB controller of model none says that the guest has no USB.
    pub(crate) fn is_usb_disabled(&self) -> bool {
        self.controllers(ControllerType::Usb).any(|(_, c)| c.model == Some(ControllerModel::None))
    }

    pub(crate) fn controller(&self, id: Id) -> Option<&Controller> {
        self.get(id).controller()
    }

    pub(crate) fn controller_mut(&mut self, id: Id) -> Option<&mut Controller> {
        match &mut self.get_mut(id).device {
            DeviceKind::Controller(controller) => Some(controller),
            _ => None,
        }
    }

    /// Returns the controller with a type and an index.
    pub(crate) fn find_controller(&self, of: ControllerType, index: u32) -> Option<Id> {
        let mut all = self.controllers(of);
        all.find(|(_, controller)| controller.index == Some(index)).map(|(id, _)| id)
    }

    /// Moves one of the devices of a kind before the others.
    pub(crate) fn move_to_front(&mut self, kind: Kind, position: usize) {
        if let Some(front) = self.kinds[kind as usize].get_mut(..=position) {
            front.rotate_right(1);
        }
    }

    /// Sorts the controllers by the indexes that they got: read again, they are in the same order.
    pub(crate) fn sort_controllers(&mut self) {
        for id in std::mem::take(&mut self.kinds[Kind::Controller as usize]) {
            let controller = self.controller(id);
            let position = controller.map_or(0, |controller| self.controller_position(controller));
            self.kinds[Kind::Controller as usize].insert(position, id);
        }
    }

    /// The place of a device among those of its kind.
    fn position(&self, device: &Device) -> usize {
        match &device.device {
            DeviceKind::Disk(disk) => self.disk_position(disk),
            DeviceKind::Controller(controller) => self.controller_position(controller),
            other => self.of(other.kind()).len(),
        }
    }

    /// Sorts all disks as [`Devices::disk_position`] would place one after the other: buses in the order of their
    /// first disks.
    fn sort_disks(&mut self) {
        let mut disks = std::mem::take(&mut self.kinds[Kind::Disk as usize]);
        let mut buses: Vec<Option<DiskBus>> = Vec::new();
        for id in &disks {
            let bus = self.disk(*id).and_then(|disk| disk.bus);
            if !buses.contains(&bus) {
                buses.push(bus);
            }
        }
        disks.sort_by_cached_key(|id| {
            let disk = self.disk(*id);
            let bus = disk.and_then(|disk| disk.bus);
            let bus = buses.iter().position(|other| *other == bus);
            (bus, disk.and_then(|disk| disk_index(&disk.dev)))
        });
        self.kinds[Kind::Disk as usize] = disks;
    }

    fn disk(&self, id: Id) -> Option<&Disk> {
        match &self.get(id).device {
            DeviceKind::Disk(disk) => Some(disk),
            _ => None,
        }
    }

    /// Disks of a bus stay together, sorted by the index in their names.
    fn disk_position(&self, disk: &Disk) -> usize {
        let disks = self.of(Kind::Disk);
        let index = disk_index(&disk.dev);
        let same = |id: &Id| match &self.get(*id).device {
            DeviceKind::Disk(other) if other.bus == disk.bus => Some(disk_index(&other.dev)),
            _ => None,
        };
        let Some(last) = disks.iter().rposition(|id| same(id).is_some()) else {
            return disks.len();
        };
        // Those of the bus lie side by side.
        let mut position = last + 1;
        while position > 0 && same(&disks[position - 1]).is_some_and(|other| other > index) {
            position -= 1;
        }
        position
    }

    /// Controllers of a type stay together, sorted by index; a USB 2 controller goes before its companions.
    fn controller_position(&self, controller: &Controller) -> usize {
        let ids = self.of(Kind::Controller);
        let mut position = None;
        for (at, id) in ids.iter().enumerate().rev() {
            let Some(other) = self.controller(*id).filter(|o| o.r#type == controller.r#type) else {
                continue;
            };
            let Some(index) = controller.index else { return at + 1 };
            let before_companion = controller.master_startport.is_none()
                && other.master_startport.is_some()
                && other.index == Some(index);
            match other.index {
                Some(other) if other > index => position = Some(at),
                _ if before_companion => position = Some(at),
                Some(other) if other < index => {
                    position = position.or(Some(at + 1));
                    break;
                }
                _ => position = position.or(Some(at + 1)),
            }
        }
        position.unwrap_or(ids.len())
    }
}
