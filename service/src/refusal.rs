//! The error replies of calls.

use serde::Serialize;
use zlink::varlink_service::Error as Standard;
use zlink::{idl, introspect};

use crate::interface::Error;

/// Error reply: one of the interface, or one of Varlink itself.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Refusal {
    Own(Error),
    Standard(Standard<'static>),
}

impl introspect::ReplyError for Refusal {
    const VARIANTS: &'static [&'static idl::Error<'static>] = Error::VARIANTS;
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal::Own(error)
    }
}

impl Refusal {
    pub(crate) fn invalid_parameter(name: &'static str) -> Refusal {
        Refusal::Standard(Standard::InvalidParameter { parameter: name.into() })
    }
}
