//! Errors name position and path.

use capscache_domain::{Cause, Device, Guest, Position, ReadError, Unknown};

fn error(text: &str) -> ReadError {
    Guest::from_xml(text).unwrap_err()
}

fn guest(devices: &str) -> String {
    format!(
        "<domain type='kvm'>\n<os><type>hvm</type></os>\n<devices>\n{devices}\n</devices></domain>"
    )
}

#[test]
fn an_unknown_element_is_an_error_with_its_position_and_path() {
    let error = error(&guest("  <disk><target dev='vda'/><colour/></disk>"));
    assert_eq!(error.cause, Cause::UnknownElement);
    assert_eq!(error.path, "/domain/devices/disk/colour");
    assert_eq!(error.position, Position { line: 4, column: 29 });
    assert_eq!(
        error.to_string(),
        "cannot read the guest: line 4, column 29: /domain/devices/disk/colour: the element is not \
         understood; remove it, or keep unknown elements"
    );
}

#[test]
fn an_unknown_attribute_is_an_error_with_its_position_and_path() {
    let error = error(&guest("<input type='mouse' colour='red'/>"));
    assert_eq!(error.cause, Cause::UnknownAttribute);
    assert_eq!(error.path, "/domain/devices/input@colour");
    assert_eq!(error.position, Position { line: 4, column: 21 });
}

#[test]
fn a_column_counts_characters() {
    let text = "<domain type='kvm'><title>Zürich</title><x/></domain>";
    assert_eq!(error(text).position, Position { line: 1, column: 42 });
}

#[test]
fn a_value_that_is_not_valid_is_an_error_that_lists_the_valid_ones() {
    let error = error(&guest("<hub type='scsi'/>"));
    assert_eq!(error.path, "/domain/devices/hub@type");
    assert_eq!(error.cause, Cause::Value { found: "scsi".into(), expected: "one of usb" });
}

#[test]
fn a_number_of_an_address_that_is_too_large_is_an_error() {
    let device = "<sound model='ac97'><address type='pci' bus='0x100'/></sound>";
    let error = error(&guest(device));
    assert_eq!(error.path, "/domain/devices/sound/address@bus");
    let expected = "a number up to 0xff";
    assert_eq!(error.cause, Cause::Value { found: "0x100".into(), expected });
}

#[test]
fn a_negative_number_is_an_error() {
    let error = error(&guest("<controller type='pci' index='-1'/>"));
    assert_eq!(error.cause, Cause::Value { found: "-1".into(), expected: "a number" });
}

#[test]
fn text_where_none_belongs_is_an_error() {
    assert_eq!(error(&guest("<disk>text<target dev='vda'/></disk>")).cause, Cause::UnexpectedText);
}

#[test]
fn an_address_of_an_unknown_type_is_an_error() {
    let error = error(&guest("<sound model='ac97'><address type='pcix'/></sound>"));
    assert_eq!(error.cause, Cause::AddressType { found: "pcix".into() });
}

#[test]
fn a_required_part_that_is_missing_is_an_error() {
    let error = error(&guest("<disk type='file'/>"));
    assert_eq!(
        (error.path.as_str(), error.cause),
        ("/domain/devices/disk/target@dev", Cause::Missing)
    );
}

#[test]
fn the_content_of_metadata_is_free() {
    let text = "<domain type='kvm'><metadata><a:b xmlns:a='urn:x' c='d'/></metadata>\
                <os><type>hvm</type></os></domain>";
    assert!(Guest::from_xml(text).unwrap().to_xml().contains("<a:b xmlns:a=\"urn:x\" c=\"d\"/>"));
}

#[test]
fn elements_of_qemus_namespace_are_understood_under_any_prefix() {
    let text = |uri: &str| {
        format!(
            "<domain type='kvm' xmlns:q='{uri}'><os><type>hvm</type></os>\
             <q:commandline><q:arg value='-x'/></q:commandline></domain>"
        )
    };
    let qemu = text("http://libvirt.org/schemas/domain/qemu/1.0");
    assert!(Guest::from_xml(&qemu).unwrap().to_xml().contains("<q:arg value='-x'/>"));
    assert_eq!(error(&text("urn:other")).path, "/domain/q:commandline");
}

#[test]
fn unknown_parts_are_carried_through_if_they_are_kept() {
    let text =
        guest("<disk colour='red'><target dev='vda'/><new a='b'>c</new></disk><lamp on='yes'/>");
    let written = Guest::from_xml_with(&text, Unknown::Keep).unwrap().to_xml();
    for part in ["<disk colour='red'>", "<new a='b'>c</new>", "<lamp on='yes'/>"] {
        assert!(written.contains(part), "{part}: {written}");
    }
}

#[test]
fn a_device_is_read_on_its_own() {
    let device = Device::from_xml("<hub type='usb'/>", Unknown::Refuse).unwrap();
    assert_eq!(device.to_xml(), "<hub type='usb'/>\n");
    let error = Device::from_xml("<hub type='usb' x=''/>", Unknown::Refuse).unwrap_err();
    assert_eq!(error.path, "/hub@x");
    let error = Device::from_xml("<lamp/>", Unknown::Refuse).unwrap_err();
    assert_eq!((error.path.as_str(), error.cause), ("/lamp", Cause::UnknownElement));
}

#[test]
fn an_element_that_would_be_ignored_since_another_one_counts_is_refused() {
    let devices = "<devices/><devices><disk><target dev='vda'/></disk></devices>";
    let target = "<devices><disk><target dev='vda'/><target dev='vdb'/></disk></devices>";
    for (content, path) in [(devices, "/domain/devices"), (target, "/domain/devices/disk/target")] {
        let text = format!("<domain type='kvm'><os><type>hvm</type></os>{content}</domain>");
        let error = Guest::from_xml(&text).unwrap_err();
        assert_eq!((error.cause, error.path.as_str()), (Cause::Repeated, path));
    }
}

#[test]
fn a_character_that_xml_cannot_have_is_refused() {
    for name in ["a&#1;", "a\u{1}", "a&#xFFFE;"] {
        let text =
            format!("<domain type='kvm'><name>{name}</name><os><type>hvm</type></os></domain>");
        let error = Guest::from_xml(&text).unwrap_err();
        assert!(matches!(error.cause, Cause::Syntax { .. }), "{name:?}: {error}");
    }
}
