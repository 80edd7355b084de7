//! Recordings of all kinds, and machines of all kinds.
