#!/usr/bin/perl
# The questions of Proxmox VE before it starts a guest: version, machine type, CPU under KVM, device, property, QMP command.
use strict; use warnings; use JSON::PP;
my $emulator = shift // 'qemu-system-x86_64';
my @queries = @ARGV ? @ARGV : qw(version:>=6.0 machine:q35 machine-deprecated:pc-i440fx-2.1 cpu:host@kvm cpu-model:EPYC
    device:virtio-scsi-pci property:virtio-blk-pci.iothread command:blockdev-add option:sandbox);
open(my $answers, '-|', 'capscache', 'query', $emulator, '--json', '--explain', @queries) or die "cannot run capscache: $!\n";
my $json = do { local $/; <$answers> };
close($answers); length $json or die "cannot query $emulator\n"; # the error is on stderr; 1 is no, 3 is unknown
printf("%-40s %-8s %s\n", @$_{qw(query answer reason)}) for @{decode_json($json)};
