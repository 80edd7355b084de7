//! HAR 1.2 (HTTP Archive) with the messages of WebSockets, as browsers' developer tools and mitmproxy write it.
//!
//! A WebSocket is an entry with `_resourceType: "websocket"` and `_webSocketMessages`. Each message has `type` (`send` is
//! from the client, the machine), `time` (seconds since 1970), `opcode` (1 is text, 2 is binary) and `data` (binary as
//! base64). The format of the messages was read from mitmproxy's source (`addons/savehar.py`).

mod body;
mod export;
mod guard;
mod model;
mod reader;
mod text;

pub use export::{Bodies, ExportSummary, HarError, export_har};
pub(super) use model::{Content, Entry, Header, PostData, Request, Response, WebSocketMessage};
pub(super) use reader::{MAX_STRING_BYTES, ReadError, Sink, read};
pub(super) use text::Text;
