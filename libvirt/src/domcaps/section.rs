//! Parts of the document with lists of values.

/// A part that is supported or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// The name of the element.
    pub name: &'static str,
    /// The lists of values; `None` if the part is not supported.
    pub enums: Option<Vec<Enumeration>>,
}

/// The values that an attribute or element of a guest can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enumeration {
    /// The name.
    pub name: &'static str,
    /// The values, in the order of libvirt's enumeration; may be empty.
    pub values: Vec<&'static str>,
}

impl Section {
    pub(super) fn new(name: &'static str, enums: Vec<Enumeration>) -> Section {
        Section { name, enums: Some(enums) }
    }

    /// Returns a part that is supported if its first list has a value.
    pub(super) fn unless_empty(name: &'static str, enums: Vec<Enumeration>) -> Section {
        let has_values = enums.first().is_some_and(|first| !first.values.is_empty());
        Section { name, enums: has_values.then_some(enums) }
    }
}

impl Enumeration {
    /// Returns a list of those values whose condition holds.
    pub(super) fn of(name: &'static str, values: &[(bool, &'static str)]) -> Enumeration {
        Enumeration { name, values: chosen(values) }
    }
}

/// Returns the values whose condition holds.
pub(super) fn chosen(values: &[(bool, &'static str)]) -> Vec<&'static str> {
    values.iter().filter(|(is_chosen, _)| *is_chosen).map(|(_, value)| *value).collect()
}
