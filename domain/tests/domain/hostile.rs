//! No text makes reading panic or use much memory.

use capscache_domain::{Cause, Guest, MAX_BYTES, MAX_DEPTH, Unknown};
use proptest::prelude::*;

const GUEST: &str = "<domain type='kvm'><name>a&amp;b</name><memory unit='MiB'>1</memory>\
    <os><type arch='x86_64' machine='q35'>hvm</type></os><cpu><numa><cell id='0' cpus='0' memory='1'/>\
    </numa></cpu><devices><disk><target dev='sda' bus='sata'/><address type='drive' unit='1'/></disk>\
    <controller type='pci' index='0' model='pcie-root'/><hub type='usb'><address type='usb' bus='0' \
    port='1.2'/></hub></devices></domain>";

fn cause(text: &str) -> Cause {
    Guest::from_xml(text).unwrap_err().cause
}

#[test]
fn a_document_type_is_refused_before_an_entity_expands() {
    let text = "<!DOCTYPE domain [<!ENTITY a 'aaaa'>]><domain type='kvm'>&a;</domain>";
    assert_eq!(cause(text), Cause::DocumentType);
}

#[test]
fn an_entity_that_is_not_predefined_is_refused() {
    let text = "<domain type='kvm'><name>&a;</name></domain>";
    assert_eq!(cause(text), Cause::Syntax { what: "the entity &a; is not known".into() });
}

#[test]
fn elements_are_not_nested_beyond_the_limit() {
    let text = "<a>".repeat(100_000);
    assert_eq!(cause(&text), Cause::TooDeep { limit: MAX_DEPTH });
}

#[test]
fn a_text_beyond_the_limit_is_not_parsed() {
    let text = " ".repeat(MAX_BYTES + 1);
    assert_eq!(cause(&text), Cause::TooLong { bytes: MAX_BYTES + 1, limit: MAX_BYTES });
}

#[test]
fn attributes_of_an_element_are_limited() {
    let attributes: String = (0..10_000).map(|n| format!(" a{n}=''")).collect();
    assert_eq!(cause(&format!("<domain{attributes}/>")), Cause::TooMany { limit: 256 });
}

#[test]
fn a_text_cut_anywhere_is_an_error() {
    for end in 0..GUEST.len() {
        assert!(Guest::from_xml(&GUEST[..end]).is_err(), "{end}");
    }
    assert_eq!(Guest::from_xml(GUEST).unwrap().devices.len(), 3);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".{0,400}") {
        let _ = Guest::from_xml_with(&text, Unknown::Keep);
    }

    #[test]
    fn a_guest_with_changed_bytes_is_read_or_refused(
        changes in prop::collection::vec((0..GUEST.len(), any::<u8>()), 1..4)
    ) {
        let mut bytes = GUEST.as_bytes().to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        if let Ok(guest) = Guest::from_xml_with(&String::from_utf8_lossy(&bytes), Unknown::Keep) {
            let written = guest.to_xml();
            let again = Guest::from_xml_with(&written, Unknown::Keep).unwrap();
            prop_assert_eq!(again.to_xml(), written);
        }
    }
}
