//! Guests to start from, with one device a line.

/// Guests as XML.
pub(crate) const XML: [&str; 6] = [
    "<domain type='kvm'>
<name>desktop</name><memory unit='MiB'>512</memory><vcpu>2</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os>
<devices>
<controller type='pci' index='0' model='pci-root'/>
<controller type='pci' index='1' model='pci-bridge'><target chassisNr='1'/></controller>
<controller type='usb' index='0' model='ich9-ehci1'/>
<controller type='usb' index='0' model='ich9-uhci1'><master startport='0'/></controller>
<controller type='scsi' index='0' model='lsilogic'/>
<controller type='virtio-serial' index='0' ports='4'/>
<disk type='file' device='disk'><target dev='vda' bus='virtio'/></disk>
<disk type='file' device='cdrom'><target dev='hda' bus='ide'/><address type='drive' controller='0' bus='0' target='0' unit='0'/></disk>
<disk type='file' device='disk'><target dev='sda' bus='scsi'/></disk>
<disk type='file' device='floppy'><target dev='fda' bus='fdc'/></disk>
<interface type='user'><mac address='52:54:00:00:00:01'/><model type='e1000'/><address type='pci' domain='0x0000' bus='0x00' slot='0x05' function='0x0' multifunction='on'/></interface>
<interface type='user'><mac address='52:54:00:00:00:02'/><model type='virtio'/><address type='pci' domain='0x0000' bus='0x01' slot='0x02' function='0x0'/></interface>
<input type='tablet' bus='usb'><address type='usb' bus='0' port='1.2'/></input>
<hub type='usb'><address type='usb' bus='0' port='1'/></hub>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/><address type='virtio-serial' controller='0' bus='0' port='2'/></channel>
<console type='pty'><target type='virtio' port='1'/></console>
<sound model='ac97'/>
<video><model type='qxl' primary='yes'/></video>
<video><model type='virtio'/></video>
<watchdog model='i6300esb'/>
<memballoon model='virtio'/>
<rng model='virtio'/>
<panic model='isa'><address type='isa' iobase='0x505'/></panic>
</devices>
</domain>",
    "<domain type='kvm'>
<name>server</name><maxMemory slots='16' unit='GiB'>8</maxMemory><memory unit='GiB'>2</memory><vcpu>2</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os>
<cpu><numa><cell id='0' cpus='0' memory='1' unit='GiB'/><cell id='1' cpus='1' memory='1' unit='GiB'/></numa></cpu>
<devices>
<controller type='pci' index='0' model='pcie-root'/>
<controller type='pci' index='1' model='pcie-root-port'><target chassis='1' port='0x10' hotplug='off'/><address type='pci' domain='0x0000' bus='0x00' slot='0x02' function='0x0'/></controller>
<controller type='pci' index='2' model='pcie-switch-upstream-port'/>
<controller type='pci' index='3' model='pcie-switch-downstream-port'/>
<controller type='pci' index='4' model='pcie-expander-bus'><target busNr='180'><node>1</node></target></controller>
<controller type='pci' index='5' model='pcie-root-port'><address type='pci' bus='4' slot='0'/></controller>
<controller type='pci' index='6' model='dmi-to-pci-bridge'/>
<controller type='pci' index='7' model='pci-bridge'/>
<controller type='pci' index='8' model='pcie-to-pci-bridge'/>
<controller type='sata' index='0'/>
<controller type='usb' index='0' model='qemu-xhci' ports='8'/>
<disk type='file'><target dev='sda' bus='sata'/></disk>
<disk type='file' model='virtio-transitional'><target dev='vda' bus='virtio'/></disk>
<filesystem type='mount'><target dir='tag'/></filesystem>
<interface type='user'><model type='virtio'/></interface>
<interface type='user'><model type='rtl8139'/></interface>
<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x03' slot='0x00' function='0x0'/></source></hostdev>
<redirdev bus='usb' type='spicevmc'/>
<shmem name='shared'><model type='ivshmem-plain'/></shmem>
<memory model='dimm'><target><size unit='MiB'>512</size><node>0</node></target><address type='dimm' slot='1'/></memory>
<memory model='virtio-mem'><target><size unit='MiB'>512</size><node>0</node></target></memory>
<iommu model='virtio'/>
<vsock model='virtio'/>
<crypto model='virtio' type='qemu'><address type='pci' slot='9'/></crypto>
<sound model='ich9'/>
</devices>
</domain>",
    "<domain type='qemu'>
<os><type arch='s390x' machine='s390-ccw-virtio'>hvm</type></os>
<devices>
<controller type='pci' index='0' model='pci-root'/>
<disk type='file'><target dev='vda' bus='virtio'/><address type='ccw' cssid='0xfe' ssid='0x0' devno='0x0001'/></disk>
<disk type='file'><target dev='sda' bus='scsi'/></disk>
<interface type='user'><model type='virtio'/></interface>
<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x03' slot='0x00' function='0x0'/></source><address type='pci' domain='0x0000' bus='0x00' slot='0x01' function='0x0'><zpci uid='0x0004' fid='0x00000003'/></address></hostdev>
<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x04' slot='0x00' function='0x0'/></source></hostdev>
<channel type='unix'><target type='virtio' name='a'/></channel>
<panic model='s390'/>
</devices>
</domain>",
    "<domain type='qemu'>
<os><type arch='ppc64' machine='pseries'>hvm</type></os>
<devices>
<controller type='pci' index='0' model='pci-root'><target index='0'/></controller>
<controller type='pci' index='1' model='pci-root'><target index='2'/></controller>
<controller type='usb' index='0' model='pci-ohci'/>
<controller type='scsi' index='0' model='ibmvscsi'><address type='spapr-vio' reg='0x00002000'/></controller>
<disk type='file'><target dev='sda' bus='scsi'/></disk>
<disk type='file'><target dev='vda' bus='virtio'/></disk>
<interface type='user'><model type='spapr-vlan'/></interface>
<serial type='pty'><target type='spapr-vio-serial' port='0'><model name='spapr-vty'/></target><address type='spapr-vio' reg='0x30000000'/></serial>
<serial type='pty'><target type='spapr-vio-serial' port='1'/></serial>
<input type='keyboard' bus='usb'/>
<nvram><address type='spapr-vio' reg='0x3000'/></nvram>
<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0001' bus='0x03' slot='0x00' function='0x0'/></source></hostdev>
<panic model='pseries'/>
</devices>
</domain>",
    "<domain type='qemu'>
<maxMemory slots='4' unit='GiB'>4</maxMemory><memory unit='GiB'>1</memory>
<os><type arch='aarch64' machine='virt'>hvm</type></os>
<devices>
<disk type='file'><target dev='vda' bus='virtio'/><address type='virtio-mmio'/></disk>
<disk type='file'><target dev='vdb' bus='virtio'/></disk>
<controller type='usb' index='0' model='qemu-xhci'/>
<controller type='ccid' index='0'/>
<smartcard mode='passthrough' type='spicevmc'><address type='ccid' controller='0' slot='0'/></smartcard>
<input type='tablet' bus='usb'/>
<input type='keyboard' bus='virtio'/>
<serial type='pty'><target type='pci-serial' port='1'/></serial>
<video><model type='virtio' heads='1' primary='yes'/></video>
<memory model='nvdimm'><target><size unit='KiB'>523264</size></target></memory>
</devices>
</domain>",
    "<domain type='qemu'>
<os><type arch='riscv64' machine='virt'>hvm</type></os>
<devices>
<controller type='pci' index='0' model='pcie-root'/>
<controller type='pci' index='1' model='pcie-root-port'><address type='pci' bus='2' slot='0'/></controller>
<controller type='pci' index='2' model='pcie-root-port'><address type='pci' bus='1' slot='0'/></controller>
<disk type='file'><target dev='vda' bus='virtio'/><address type='unassigned'/></disk>
<pstore backend='acpi-erst'><path>/p</path><size unit='KiB'>8</size></pstore>
</devices>
</domain>",
];
