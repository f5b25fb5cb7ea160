//! Files that libvirt did not write.

use capscache_libvirt::{Host, QemuCaps, XmlError};

use crate::replies::{REFERENCE, Replies, entry_of};

const SMALL: &str = "<qemuCaps>
  <emulator>/usr/bin/qemu-system-x86_64</emulator>
  <qemuctime>1</qemuctime>
  <selfctime>2</selfctime>
  <selfvers>11003000</selfvers>
  <flag name='kvm'/>
  <flag name='vnc-colon'/>
  <version>8002001</version>
  <microcodeVersion>0</microcodeVersion>
  <package>a &amp; b &#x41;</package>
  <arch>x86_64</arch>
  <cpu type='tcg' name='qemu64' usable='no'>
    <blocker name='x'/>
  </cpu>
  <hostCPU type='kvm' model='base' migratability='yes'>
    <property name='p' type='number' value='-1'/>
  </hostCPU>
</qemuCaps>
";

fn error(text: &str) -> String {
    QemuCaps::from_xml(text, REFERENCE).unwrap_err().to_string()
}

#[test]
fn a_small_file_is_read_in_full() {
    let caps = QemuCaps::from_xml(SMALL, REFERENCE).unwrap();
    assert_eq!(caps.package, "a & b A");
    assert_eq!(caps.flags.names().collect::<Vec<_>>(), ["vnc-colon", "kvm"], "retired ones too");
    assert_eq!(caps.tcg.cpus[0].blockers, ["x"]);
    assert_eq!((caps.self_version, caps.version), (11_003_000, 8_002_001));
    assert_eq!(QemuCaps::from_xml(&caps.to_xml(), REFERENCE).unwrap(), caps);
}

#[test]
fn a_file_that_is_truncated_anywhere_is_an_error() {
    let end = SMALL.trim_end().len();
    for length in 0..end {
        assert!(QemuCaps::from_xml(&SMALL[..length], REFERENCE).is_err(), "cut at {length}");
    }
    assert!(QemuCaps::from_xml(&SMALL[..end], REFERENCE).is_ok());
}

#[test]
fn errors_on_which_libvirt_is_strict_are_reported() {
    for (from, to, expected) in [
        ("<qemuctime>1</qemuctime>", "", "there is no <qemuctime>"),
        ("<selfctime>2</selfctime>", "", "there is no <selfctime>"),
        ("<selfvers>11003000</selfvers>", "", "there is no <selfvers>"),
        ("<version>8002001</version>", "", "there is no <version>"),
        ("<microcodeVersion>0</microcodeVersion>", "", "there is no <microcodeVersion>"),
        ("<arch>x86_64</arch>", "", "there is no <arch>"),
        ("<arch>x86_64</arch>", "<arch>avr</arch>", "<arch> cannot be \"avr\""),
        ("'vnc-colon'", "'teleport'", "flag@name cannot be \"teleport\""),
        ("'vnc-colon'", "'sev-guest'", "there is no <sev> beside the flag sev-guest"),
        ("'vnc-colon'", "'sgx-epc'", "there is no <sgx> beside the flag sgx-epc"),
        (" model='base'", "", "there is no hostCPU@model"),
        (" migratability='yes'", "", "there is no hostCPU@migratability"),
        ("migratability='yes'", "migratability='1'", "hostCPU@migratability cannot be \"1\""),
        ("<version>8002001", "<version>-1", "<version> cannot be \"-1\""),
        ("qemuCaps>", "domstatus>", "the root is <domstatus>, not <qemuCaps>"),
        ("</cpu>", "</machine>", "not XML at byte"),
        ("name='x'/>", "name='x' name='y'/>", "not XML at byte"),
        ("&amp;", "&unknown;", "an unknown entity"),
        ("&#x41;", "&#x0;", "not XML at byte"),
        ("&#x41;", "&#x1b;", "an unknown entity"),
        ("a &amp;", "\u{1b}[31m", "U+001B is not a character of XML"),
        ("a &amp;", "\u{ffff}", "U+FFFF is not a character of XML"),
        ("name='x'", "name='&#xfffe;'", "a reference to what is not a character of XML"),
        ("</qemuCaps>", "</qemuCaps>text", "text beside the root"),
        ("<qemuCaps>", "text<qemuCaps>", "text beside the root"),
        ("</qemuCaps>", "</qemuCaps>&#x41;", "text beside the root"),
        ("<qemuCaps>", "<qemuCaps xmlns='urn:x'>", "there is no <qemuCaps> without a namespace"),
        ("<version>8002001", "<version>8002001 ", "<version> cannot be \"8002001 \""),
        ("<selfctime>2", "<selfctime>2\n", "<selfctime> cannot be"),
    ] {
        let changed = SMALL.replace(from, to);
        assert_ne!(changed, SMALL, "{from}");
        let message = error(&changed);
        assert!(message.contains(expected), "{from} → {to}: {message}");
    }
    let cap =
        "<hypervCapabilities supported='yes'><cap name='warp'/></hypervCapabilities></qemuCaps>";
    assert!(error(&SMALL.replace("</qemuCaps>", cap)).contains("cap@name cannot be \"warp\""));
    assert!(error(&format!("{SMALL}{SMALL}")).contains("a second root"));
}

#[test]
fn what_libvirt_is_lenient_about_is_read() {
    let read = |from: &str, to: &str| {
        let changed = SMALL.replace(from, to);
        assert_ne!(changed, SMALL, "{from}");
        QemuCaps::from_xml(&changed, REFERENCE).unwrap_or_else(|error| panic!("{to}: {error}"))
    };
    let small = QemuCaps::from_xml(SMALL, REFERENCE).unwrap();
    assert_eq!(read("<version>", "<version>\n\t "), small);
    // Of elements that there is one of, the first counts.
    let second = "<qemuctime>x</qemuctime><arch>avr</arch><hostCPU type='kvm' model='y' migratability='no'/></qemuCaps>";
    assert_eq!(read("</qemuCaps>", second), small);
    assert_eq!(read("<arch>", "<machine name='q35'/><cpu name='y'/><arch>"), small);
    assert_eq!(read("<arch>", "<qemumoddirmtime>5 </qemumoddirmtime><arch>"), small);
    let machine = read("<arch>", "<machine type='tcg' name='q35' maxCpus=' 7'/><arch>");
    assert_eq!(machine.tcg.machines[0].max_cpus, 7);
    assert_eq!(read("</qemuCaps>", "<!-- a --></qemuCaps><!-- b --><?c d?>"), small);
    assert_eq!(read("<qemuCaps>", "<qemuCaps xmlns:x='urn:x' xmlns=''>"), small);
    let other = "<arch xmlns='urn:x'>avr</arch><cpu xmlns='urn:x' type='tcg'><y/></cpu></qemuCaps>";
    assert_eq!(read("</qemuCaps>", other), small);
    let sev = |rest: &str| {
        let parts = "<cbitpos>1</cbitpos><reducedPhysBits>2</reducedPhysBits><pdh>a</pdh><certChain>b</certChain>";
        read("<arch>", &format!("<sev>{parts}{rest}</sev><arch>"))
    };
    assert_eq!(sev("<cbitpos>x</cbitpos><pdh>c</pdh>"), sev(""));
    let leaf = "<cpudata arch='x86'><cpuid eax_in=' 0x1' ecx_in='0x0' eax='0x2' ebx='0x0' ecx='0x0' edx='0x0'/></cpudata>";
    let data = read("<arch>", &format!("{leaf}<arch>")).cpu_data.unwrap();
    assert_eq!((data.cpuid[0].eax_in, data.cpuid[0].eax), (1, 2));
}

#[test]
fn unknown_elements_are_ignored_at_any_position() {
    let strange = "<future a='b'><more><cpu type='tcg'/>text</more></future>";
    let with = SMALL
        .replace("  <version>", &format!("  {strange}\n  <version>"))
        .replace("<blocker", &format!("{strange}<blocker"));
    assert_eq!(
        QemuCaps::from_xml(&with, REFERENCE).unwrap(),
        QemuCaps::from_xml(SMALL, REFERENCE).unwrap()
    );
}

#[test]
fn expanding_entities_are_refused_with_their_document_type() {
    let bomb = "<!DOCTYPE q [<!ENTITY a 'aaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]>";
    let error = QemuCaps::from_xml(&format!("{bomb}{SMALL}"), REFERENCE).unwrap_err();
    assert!(matches!(error, XmlError::DocumentType { at: 0 }), "{error}");
}

#[test]
fn elements_that_nest_without_bound_are_refused() {
    let deep = SMALL.replace("</qemuCaps>", &"<x>".repeat(1_000_000));
    assert!(error(&deep).contains("nested too deeply"));
}

#[test]
fn a_file_of_a_hundred_megabytes_is_refused_unread() {
    let huge = " ".repeat(100 << 20);
    let error = QemuCaps::from_xml(&huge, REFERENCE).unwrap_err();
    assert!(matches!(error, XmlError::TooLong), "{error}");
}

#[test]
fn a_recording_that_is_truncated_anywhere_is_an_error() {
    let whole = Replies::with_kvm("x86_64").text();
    let keeps = |text: &str| -> Result<QemuCaps, String> {
        let entry = entry_of(text, None).map_err(|error| error.to_string())?;
        let caps = QemuCaps::from_entry(&entry, Host::default(), REFERENCE);
        caps.map_err(|error| error.to_string())
    };
    assert!(keeps(&whole).is_ok());
    // Only the line break at the end is missing.
    assert!(keeps(whole.trim_end()).is_ok());
    for length in 0..whole.trim_end().len() {
        assert!(keeps(&whole[..length]).is_err(), "{length} of {} bytes", whole.len());
    }
}
