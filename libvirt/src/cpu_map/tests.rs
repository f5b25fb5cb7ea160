//! Rules of the map that libvirt's own guests do not show.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use super::tags::Tags;
use super::{Comparison, CpuMap, GuestCpu, Policy};
use crate::caps::{CpuProperty, CpuValue, HostCpu};

const MAP: &str = "<?xml version='1.0'?>
<!-- <model name='Comment'/> -->
<cpus>
  <vendor name='Maker' string='MakerOfCPUs!'/>
  <feature name='one'><cpuid eax_in='0x01' ecx='0x1'/></feature>
  <feature name='two'><alias name='zwei'/><cpuid eax_in='0x01' ecx='0x2'/></feature>
  <feature name='three' migratable='no'><cpuid eax_in=\"7\" ecx_in='1' eax='4'/></feature>
  <feature name='register'><msr index='0x10a' eax='0x1' edx='0x0'/></feature>
  <model name='Old'>
    <check partial='compat'/><decode host='on' guest='on'/>
    <signature family='6' model='1' stepping='0-2,4'/><vendor name='Maker'/>
    <feature name='one'/><feature name='two' removed='yes'/>
  </model>
  <model name='New'>
    <decode host='on' guest='on'/><model name='Old'/><signature family='6' model='2'/>
    <feature name='two'/><feature name='three' added='yes'/>
  </model>
  <model name='Alias'><decode host='on' guest='off'/><model name='New'/></model>
</cpus>";

fn map() -> CpuMap {
    let mut map = CpuMap::default();
    map.add(&mut Tags::new(MAP)).unwrap();
    map
}

fn host(features: &[(&str, Option<bool>)], model: i64, migratability: bool) -> HostCpu {
    let property =
        |name: &str, value, migratable| CpuProperty { name: name.to_owned(), value, migratable };
    let number = |name, number| property(name, CpuValue::Number(number), None);
    let vendor = property("vendor", CpuValue::String("MakerOfCPUs!".to_owned()), None);
    let mut properties = vec![vendor, number("family", 6), number("model", model)];
    let on = CpuValue::Boolean(true);
    properties.extend(features.iter().map(|(name, m)| property(name, on.clone(), *m)));
    HostCpu { properties, migratability, ..HostCpu::default() }
}

fn cpu(model: &str, features: &[(&str, bool)]) -> GuestCpu {
    let features = features.iter().map(|(name, is_on)| ((*name).to_owned(), *is_on));
    let vendor = Some("Maker".to_owned());
    GuestCpu { model: model.to_owned(), vendor, features: features.collect() }
}

fn models<'b>(blockers: &[&'b str]) -> Vec<(&'b str, Vec<&'b str>)> {
    vec![("New", blockers.to_vec()), ("Old", Vec::new()), ("Alias", Vec::new())]
}

#[test]
fn the_model_of_the_hosts_signature_is_taken_though_another_has_fewer_differences() {
    let own = |model| host(&[("one", None), ("two", None)], model, true);
    let found = |model| map().host_model(&own(model), &models(&[]), false).unwrap();
    assert_eq!(found(2), cpu("New", &[]));
    assert_eq!(found(1), cpu("Old", &[("two", true)]));
}

#[test]
fn features_that_the_host_lacks_and_that_block_a_model_are_off() {
    let found =
        |blockers| map().host_model(&host(&[("one", None)], 2, true), &models(blockers), false);
    assert_eq!(found(&[]).unwrap(), cpu("New", &[("two", false)]));
    let off = [("two", false), ("register", false)];
    assert_eq!(found(&["register"]).unwrap(), cpu("New", &off));
}

#[test]
fn features_that_cannot_be_migrated_are_left_out_by_qemus_word_or_else_by_the_maps() {
    let features = [("one", Some(true)), ("two", Some(false)), ("three", Some(true))];
    let found = |is_known| map().host_model(&host(&features, 2, is_known), &models(&[]), true);
    assert_eq!(found(true).unwrap(), cpu("New", &[("three", true), ("two", false)]));
    assert_eq!(found(false).unwrap(), cpu("New", &[]));
}

#[test]
fn a_cpu_is_compared_by_its_model_and_the_policies_of_features() {
    let map = map();
    let compare = |model, features: &[(&str, Policy)]| {
        let features: Vec<_> = features.iter().map(|(n, p)| ((*n).to_owned(), *p)).collect();
        map.compare(&cpu("Old", &[("three", true)]), model, Some("Maker"), &features)
    };
    assert_eq!(compare(Some("Old"), &[]), Comparison::More);
    assert_eq!(compare(Some("Old"), &[("three", Policy::Disable)]), Comparison::Same);
    assert_eq!(compare(Some("New"), &[]), Comparison::Missing("two".to_owned()));
    assert_eq!(compare(Some("New"), &[("two", Policy::Force)]), Comparison::More);
    assert_eq!(compare(None, &[("one", Policy::Forbid)]), Comparison::Forbidden);
    assert_eq!(compare(None, &[("four", Policy::Require)]), Comparison::Unknown("four".to_owned()));
    assert_eq!(map.compare(&cpu("Old", &[]), None, Some("Other"), &[]), Comparison::Vendor);
}

#[test]
fn a_model_that_differs_in_its_name_alone_is_the_canonical_one_of_its_ancestor() {
    let map = map();
    let canonical = ["Old", "New", "Alias", "None"].map(|name| map.canonical(name));
    assert_eq!(canonical, [None, Some("Alias"), None, None]);
    let vendors = ["Old", "Alias", "None"].map(|name| map.vendor_of(name));
    assert_eq!(vendors, [Some("Maker"), Some("Maker"), None]);
}

#[test]
fn a_text_that_ends_too_early_is_refused() {
    let root = MAP.find("<cpus>").unwrap() + 1;
    for (end, _) in MAP.char_indices().filter(|(end, _)| *end >= root) {
        let end = MAP.get(..end).unwrap();
        assert!(CpuMap::default().add(&mut Tags::new(end)).is_err(), "{end}");
    }
    let bad = ["<cpus></cpus></cpus>", "<!DOCTYPE x>", "<cpus><feature name='&a;'/></cpus>"];
    let is_bad = |text| {
        let mut tags = Tags::new(text);
        CpuMap::default().add(&mut tags).and_then(|()| tags.child()).is_err()
    };
    assert!(bad.into_iter().all(is_bad));
}
