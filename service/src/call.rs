//! One message, parsed and answered.
//!
//! zlink's `service` macro dispatches methods and introspection. Its gaps are closed here: it does not name an
//! unknown method, closes the connection for a parameter of the wrong type, and refuses unknown parameters
//! of methods that have none.

use std::borrow::Cow;
use std::os::fd::OwnedFd;

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tracing::debug;
use zlink::connection::socket::{ReadHalf, ReadResult, Socket, WriteHalf};
use zlink::connection::{Connection, PassedCredentials};
use zlink::idl::{Interface, Type};
use zlink::service::MethodReply;
use zlink::varlink_service::Error as Standard;
use zlink::{Call, Reply, Service};

use crate::interface::{DESCRIPTION, NAME};
use crate::peer::Peer;
use crate::transport::ConnectionError;

/// JSON values in one message, at most: parsed in a few milliseconds, whatever they are. A longer message
/// within this limit is long text.
const MAX_VALUES: usize = 16 << 10;

/// The interface that every Varlink service has.
const STANDARD: &str = "org.varlink.service";
const GET_INFO: &str = "org.varlink.service.GetInfo";
const GET_DESCRIPTION: &str = "org.varlink.service.GetInterfaceDescription";

pub(crate) type MethodCall<'de> = <Peer as Service<NullSocket>>::MethodCall<'de>;
type ReplyStream = <Peer as Service<NullSocket>>::ReplyStream;

/// The reply to a call.
pub(crate) enum Answer {
    Nothing,
    One(Message),
    Many(Replies),
}

/// An encoded message, with its NUL.
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// A stream of replies.
pub(crate) struct Replies(ReplyStream);

/// The part of a call that does not depend on its method.
#[derive(Debug, Deserialize)]
pub(crate) struct Head<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(default)]
    oneway: bool,
    #[serde(default)]
    more: bool,
}

/// A parsed message.
pub(crate) enum Parsed<'m> {
    Call(Call<MethodCall<'m>>),
    /// A call of a method without parameters, encoded without those that it was given and ignores.
    Bare(String),
    Refused(Standard<'static>),
}

/// Parses one message.
///
/// # Errors
/// [`ConnectionError::NotACall`] for a message that is not a call: the connection cannot be used any more.
pub(crate) fn parse(message: &[u8]) -> Result<(Head<'_>, Parsed<'_>), ConnectionError> {
    let head: Head<'_> = serde_json::from_slice(message)?;
    if values(message) > MAX_VALUES {
        let parameter = "parameters".into();
        return Ok((head, Parsed::Refused(Standard::InvalidParameter { parameter })));
    }
    let interface = head.method.rsplit_once('.').map_or("", |(interface, _)| interface);
    if interface != NAME && interface != STANDARD {
        let interface = interface.to_owned().into();
        return Ok((head, Parsed::Refused(Standard::InterfaceNotFound { interface })));
    }
    let call = serde_json::from_slice::<Call<MethodCall<'_>>>(message).ok();
    let parsed = match call.filter(|_| head.method != GET_INFO) {
        Some(call) => Parsed::Call(call),
        None => match wrong_parameter(&head) {
            Some(parameter) => Parsed::Refused(Standard::InvalidParameter { parameter }),
            None => {
                let bare = json!({"method": head.method, "oneway": head.oneway, "more": head.more});
                Parsed::Bare(bare.to_string())
            }
        },
    };
    Ok((head, parsed))
}

/// Answers one message.
///
/// # Errors
/// Those of [`parse`].
pub(crate) async fn answer(peer: &mut Peer, message: &[u8]) -> Result<Answer, ConnectionError> {
    let (head, parsed) = parse(message)?;
    debug!("{}", head.method);
    match parsed {
        Parsed::Call(call) => dispatch(peer, &head, &call).await,
        Parsed::Bare(bare) => dispatch(peer, &head, &serde_json::from_str(&bare)?).await,
        Parsed::Refused(error) => refuse(&head, &error),
    }
}

/// Returns an upper bound of the number of values in a message: each but the first follows one of these bytes.
fn values(message: &[u8]) -> usize {
    message.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count()
}

async fn dispatch(
    peer: &mut Peer,
    head: &Head<'_>,
    call: &Call<MethodCall<'_>>,
) -> Result<Answer, ConnectionError> {
    let mut unused = Connection::new(NullSocket);
    let (reply, descriptors) = peer.handle(call, &mut unused, Vec::new()).await;
    match reply {
        _ if call.oneway() => Ok(Answer::Nothing),
        MethodReply::Single(parameters) => {
            let reply = Reply::new(parameters);
            Ok(Answer::One(Message { bytes: encode(&reply)?, descriptors }))
        }
        MethodReply::Multi(replies) => Ok(Answer::Many(Replies(replies))),
        MethodReply::Error(error) => {
            let mut error = serde_json::to_value(&error)?;
            if error["error"] == "org.varlink.service.MethodNotFound" {
                if head.method == GET_DESCRIPTION {
                    // The method exists; its one parameter was wrong.
                    let parameter = "interface".into();
                    return refuse(head, &Standard::InvalidParameter { parameter });
                }
                error["parameters"]["method"] = head.method.clone().into();
            }
            Ok(Answer::One(Message { bytes: encode(&error)?, descriptors }))
        }
        // No method upgrades its connection.
        _ => Ok(Answer::Nothing),
    }
}

impl Replies {
    /// Returns the next reply; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Message>, ConnectionError> {
        let Some((item, descriptors)) = self.0.next().await else { return Ok(None) };
        let bytes = match item {
            Ok(reply) => encode(&reply)?,
            Err(error) => encode(&error)?,
        };
        Ok(Some(Message { bytes, descriptors }))
    }
}

fn encode(message: &impl Serialize) -> Result<Vec<u8>, ConnectionError> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(0);
    Ok(bytes)
}

pub(crate) fn refuse(head: &Head<'_>, error: &Standard<'_>) -> Result<Answer, ConnectionError> {
    if head.oneway {
        return Ok(Answer::Nothing);
    }
    Ok(Answer::One(Message { bytes: encode(error)?, descriptors: Vec::new() }))
}

/// Returns the first parameter that is missing or of the wrong type; `None` if the method has no parameters.
fn wrong_parameter(head: &Head<'_>) -> Option<Cow<'static, str>> {
    let interface = Interface::try_from(DESCRIPTION).ok()?;
    let name = head.method.strip_prefix(NAME)?.strip_prefix('.')?;
    let method = interface.methods().find(|method| method.name() == name)?;
    if method.has_no_inputs() {
        return None;
    }
    let given = head.parameters.map_or("{}", RawValue::get);
    let Ok(given) = serde_json::from_str::<Map<String, Value>>(given) else {
        return Some("parameters".into());
    };
    let wrong = method
        .inputs()
        .find(|input| !is_a(given.get(input.name().as_str()).unwrap_or(&Value::Null), input.ty()));
    Some(wrong.map_or("parameters".into(), |input| input.name().as_str().to_owned().into()))
}

fn is_a(value: &Value, expected: &Type<'_>) -> bool {
    match expected {
        Type::Optional(inner) => value.is_null() || is_a(value, inner),
        Type::Array(inner) => {
            value.as_array().is_some_and(|values| values.iter().all(|value| is_a(value, inner)))
        }
        Type::Bool => value.is_boolean(),
        Type::String => value.is_string(),
        _ => true,
    }
}

/// A socket without a peer, for the connection that zlink passes to methods: they need none.
#[derive(Debug)]
pub(crate) struct NullSocket;

impl Socket for NullSocket {
    type ReadHalf = NullSocket;
    type WriteHalf = NullSocket;

    fn split(self) -> (NullSocket, NullSocket) {
        (NullSocket, NullSocket)
    }
}

impl ReadHalf for NullSocket {
    async fn read(&mut self, _buffer: &mut [u8]) -> zlink::Result<ReadResult> {
        Err(zlink::Error::SocketRead)
    }
}

impl WriteHalf for NullSocket {
    async fn write(
        &mut self,
        _bytes: &[u8],
        _descriptors: &[impl std::os::fd::AsFd],
        _credentials: Option<&PassedCredentials>,
    ) -> zlink::Result<()> {
        Err(zlink::Error::SocketWrite)
    }
}
