//! The cloud's side of the conversation, on loopback.
