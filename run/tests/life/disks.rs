//! Guests with disks.

use std::fs;
use std::path::PathBuf;

use capscache_run::{End, StartError};

use crate::{Dir, entry, guest_with};

const CLUSTER: usize = 1 << 16;

/// Returns a qcow2 image of 1 MiB without data, above another one.
fn qcow2(below: &str) -> Vec<u8> {
    let mut header = b"QFI\xfb".to_vec();
    header.extend(3_u32.to_be_bytes());
    let offset: u64 = if below.is_empty() { 0 } else { 512 };
    header.extend(offset.to_be_bytes());
    header.extend(u32::try_from(below.len()).unwrap().to_be_bytes());
    header.extend(16_u32.to_be_bytes());
    header.extend((1_u64 << 20).to_be_bytes());
    // No encryption; a table of one entry in cluster 3.
    header.extend(0_u32.to_be_bytes());
    header.extend(1_u32.to_be_bytes());
    header.extend((3 * CLUSTER as u64).to_be_bytes());
    // The table of reference counts in cluster 1; no snapshots.
    header.extend((CLUSTER as u64).to_be_bytes());
    header.extend(1_u32.to_be_bytes());
    header.extend([0; 12]);
    // No features; counts of 16 bits.
    header.extend([0; 24]);
    header.extend(4_u32.to_be_bytes());
    header.extend(104_u32.to_be_bytes());
    if !below.is_empty() {
        header.extend(0xe279_2aca_u32.to_be_bytes());
        header.extend(5_u32.to_be_bytes());
        header.extend(b"qcow2\0\0\0");
    }
    header.resize(512, 0);
    header.extend(below.as_bytes());
    header.resize(4 * CLUSTER, 0);
    header[CLUSTER..][..8].copy_from_slice(&(2 * CLUSTER as u64).to_be_bytes());
    for cluster in 0..4 {
        header[2 * CLUSTER + 2 * cluster + 1] = 1;
    }
    header
}

fn file(dir: &Dir, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.path(name);
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn a_guest_runs_with_limited_disks_and_images_that_are_found_below_others() {
    let dir = Dir::new();
    file(&dir, "base", &qcow2(""));
    file(&dir, "middle", &qcow2("base"));
    let top = file(&dir, "top", &qcow2("middle"));
    let raw = file(&dir, "raw", &[0; CLUSTER]);
    let devices = format!(
        "<disk type='file'>
           <driver type='qcow2' cache='none' discard='unmap' copy_on_read='on'/>
           <source file='{}'/><target dev='vda' bus='virtio'/>
         </disk>
         <disk type='file'>
           <driver error_policy='stop' cache='unsafe'/>
           <source file='{}'/><target dev='hda' bus='ide'/>
           <iotune><total_bytes_sec>1000000</total_bytes_sec></iotune>
         </disk>
         <disk type='file' device='cdrom'><target dev='hdb' bus='ide'/></disk>
         <disk type='file' device='floppy'><target dev='fda'/></disk>",
        top.display(),
        raw.display()
    );
    let running = dir.start(&guest_with("disks", "", "", &devices));
    running.quit();
    assert_eq!(running.wait(), End::Quit);
}

#[test]
fn an_image_of_which_the_one_below_is_not_there_is_refused_before_the_start() {
    let dir = Dir::new();
    let top = file(&dir, "top", &qcow2("lost"));
    let devices = format!(
        "<disk type='file'>
           <driver type='qcow2'/><source file='{}'/><target dev='vda' bus='virtio'/>
         </disk>",
        top.display()
    );
    let error = dir.run(&guest_with("lost", "", "", &devices)).prepare(&entry()).unwrap_err();
    let StartError::Guest(cause) = &error else { panic!("{error:?}") };
    assert!(cause.to_string().contains("/lost, which is below"), "{cause}");
}
