//! Kernels of a few instructions for x86, and the header by which QEMU loads them.

/// Powers off: writes SLP_EN to the control register of ACPI.
pub(crate) const POWER_OFF: &[u8] = &[
    0x66, 0xba, 0x04, 0x06, // mov dx, 0x604
    0x66, 0xb8, 0x00, 0x20, // mov ax, 0x2000
    0x66, 0xef, // out dx, ax
    0xf4, // hlt
    0xeb, 0xfd, // jmp to the hlt
];

/// Waits for the power button, after it has said on the debug port that it does, and powers off.
pub(crate) const AWAIT_BUTTON: &[u8] = &[
    0x66, 0xba, 0x02, 0x06, // mov dx, 0x602: the events that are enabled
    0x66, 0xb8, 0x00, 0x01, // mov ax, 0x100: the power button
    0x66, 0xef, // out dx, ax
    0x66, 0xba, 0x00, 0x06, // mov dx, 0x600: the events that have happened
    0x66, 0xed, // in ax, dx
    0xf6, 0xc4, 0x01, // test ah, 1
    0x74, 0xf9, // jz to the in
    0x66, 0xba, 0x04, 0x06, // mov dx, 0x604
    0x66, 0xb8, 0x00, 0x20, // mov ax, 0x2000
    0x66, 0xef, // out dx, ax
    0xf4, // hlt
    0xeb, 0xfd, // jmp to the hlt
];

/// Resets the machine by its keyboard controller.
pub(crate) const RESET: &[u8] = &[
    0xb0, 0xfe, // mov al, 0xfe
    0xe6, 0x64, // out 0x64, al
    0xf4, // hlt
    0xeb, 0xfd, // jmp to the hlt
];

/// Reports a panic to the panic notifier of ISA.
pub(crate) const PANIC: &[u8] = &[
    0x66, 0xba, 0x05, 0x05, // mov dx, 0x505
    0xb0, 0x01, // mov al, 1
    0xee, // out dx, al
    0xf4, // hlt
    0xeb, 0xfd, // jmp to the hlt
];

/// Writes `Hi` to the first serial port, and powers off.
pub(crate) const HELLO: &[u8] = &[
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xb0, b'H', // mov al, 'H'
    0xee, // out dx, al
    0xb0, b'i', // mov al, 'i'
    0xee, // out dx, al
    0x66, 0xba, 0x04, 0x06, // mov dx, 0x604
    0x66, 0xb8, 0x00, 0x20, // mov ax, 0x2000
    0x66, 0xef, // out dx, ax
    0xf4, // hlt
    0xeb, 0xfd, // jmp to the hlt
];

/// Writes `A` to the first serial port, again and again.
pub(crate) const REPEAT: &[u8] = &[
    0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xb0, b'A', // mov al, 'A'
    0xee, // out dx, al
    0xeb, 0xfd, // jmp to the out
];

/// Returns a kernel with the header of Multiboot, loaded at 1 MiB.
pub(crate) fn multiboot(code: &[u8]) -> Vec<u8> {
    const MAGIC: u32 = 0x1bad_b002;
    /// The header names the addresses.
    const FLAGS: u32 = 1 << 16;
    const LOAD: u32 = 0x10_0000;
    const HEADER_BYTES: u32 = 32;
    let end = LOAD + HEADER_BYTES + u32::try_from(code.len()).unwrap();
    let checksum = 0_u32.wrapping_sub(MAGIC).wrapping_sub(FLAGS);
    let header = [MAGIC, FLAGS, checksum, LOAD, LOAD, end, end, LOAD + HEADER_BYTES];
    let mut image: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    image.extend_from_slice(code);
    image
}
