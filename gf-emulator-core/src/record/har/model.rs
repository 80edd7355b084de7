//! The parts of a HAR file that are read. Unknown members are ignored, and all may be missing or `null`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::text::Text;

/// The most headers that are read of a request or a response.
const MAX_HEADERS: usize = 256;

/// A request and its response, without the messages of a WebSocket.
#[derive(Debug, Default)]
pub(in super::super) struct Entry {
    /// When the request began, ISO 8601.
    pub(in super::super) started: Option<Text>,
    /// How long it took until the response was complete, in milliseconds.
    pub(in super::super) time: Option<f64>,
    pub(in super::super) request: Option<Request>,
    pub(in super::super) response: Option<Response>,
    pub(in super::super) resource_type: Option<Text>,
    /// Whether there is a list of messages.
    pub(in super::super) has_messages: bool,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a request, which is an object")]
pub(in super::super) struct Request {
    pub(in super::super) method: Option<Text>,
    pub(in super::super) url: Option<Text>,
    #[serde(deserialize_with = "headers")]
    pub(in super::super) headers: Vec<Header>,
    pub(in super::super) post_data: Option<PostData>,
    pub(in super::super) body_size: Option<f64>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase", expecting = "a response, which is an object")]
pub(in super::super) struct Response {
    /// 0 if there was no response.
    pub(in super::super) status: Option<f64>,
    #[serde(deserialize_with = "headers")]
    pub(in super::super) headers: Vec<Header>,
    pub(in super::super) content: Option<Content>,
    pub(in super::super) body_size: Option<f64>,
    /// Why there is no response, or not a complete one. Written by Chrome and mitmproxy.
    #[serde(rename = "_error")]
    pub(in super::super) error: Option<Text>,
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, expecting = "a header, which is an object")]
pub(in super::super) struct Header {
    pub(in super::super) name: Option<Text>,
    pub(in super::super) value: Option<Text>,
}

/// The body of a request.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, expecting = "postData, which is an object")]
pub(in super::super) struct PostData {
    pub(in super::super) text: Option<Text>,
    /// `base64`, or nothing. Not in HAR 1.2, but some programs write it.
    pub(in super::super) encoding: Option<Text>,
    /// The name of a file beside the HAR file that has the body.
    #[serde(rename = "_file")]
    pub(in super::super) file: Option<Text>,
}

/// The body of a response.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, expecting = "content, which is an object")]
pub(in super::super) struct Content {
    pub(in super::super) size: Option<f64>,
    pub(in super::super) text: Option<Text>,
    /// `base64`, or nothing.
    pub(in super::super) encoding: Option<Text>,
    /// The name of a file beside the HAR file that has the body.
    #[serde(rename = "_file")]
    pub(in super::super) file: Option<Text>,
}

/// A message on a WebSocket.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, expecting = "a WebSocket message, which is an object")]
pub(in super::super) struct WebSocketMessage {
    /// `send` or `receive`.
    #[serde(rename = "type")]
    pub(in super::super) direction: Option<Text>,
    /// Seconds since 1970.
    pub(in super::super) time: Option<f64>,
    /// 1: text. 2: binary.
    pub(in super::super) opcode: Option<f64>,
    /// Binary as base64.
    pub(in super::super) data: Option<Text>,
}

/// Reads the first headers. A list instead of an object may have the name and the value.
fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Header>, D::Error> {
    Ok(Option::<FirstOf<Header>>::deserialize(deserializer)?.map(|first| first.0).unwrap_or_default())
}

/// The first [`MAX_HEADERS`] items of a list.
struct FirstOf<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for FirstOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FirstVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for FirstVisitor<T> {
            type Value = FirstOf<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<FirstOf<T>, A::Error> {
                let mut first = Vec::new();
                while first.len() < MAX_HEADERS {
                    let Some(item) = list.next_element()? else { return Ok(FirstOf(first)) };
                    first.push(item);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(FirstOf(first))
            }
        }
        deserializer.deserialize_seq(FirstVisitor(PhantomData))
    }
}
