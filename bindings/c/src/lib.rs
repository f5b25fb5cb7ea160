#![doc = include_str!("../README.md")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may fail"))]

// References in the signatures of functions are the contract with C: a pointer is NULL or that of a living handle.
mod boundary;
pub mod cache;
pub mod code;
pub mod cpu_model;
pub mod emulators;
pub mod entry;
pub mod error;
pub mod error_parts;
pub mod json;
mod kept;
pub mod list;
pub mod lookups;
pub mod machine;
pub mod name_lists;
mod names;
pub mod numbers;
pub mod options;
pub mod property;
pub mod query;
pub mod status;
mod string;
pub mod text;
pub mod version;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_can_share_every_handle_but_options() {
        fn can_be_shared<T: Send + Sync>() {}
        fn can_be_passed_on<T: Send>() {}
        can_be_shared::<cache::Cache>();
        can_be_shared::<cpu_model::CpuModel>();
        can_be_shared::<emulators::Emulators>();
        can_be_shared::<entry::Entry>();
        can_be_shared::<error::Error>();
        can_be_shared::<json::Json>();
        can_be_shared::<list::List>();
        can_be_shared::<machine::Machine>();
        can_be_shared::<property::Property>();
        can_be_shared::<query::Query>();
        can_be_shared::<status::Status>();
        can_be_passed_on::<options::Options>();
    }
}
