//! WebSocket frames: the input is what a machine receives after the handshake.

#![no_main]

use gf_emulator_core::config::Generation;
use gf_emulator_fuzz::{config, log_lines, world};
use libfuzzer_sys::fuzz_target;

const SIGN_IN: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-length: 39\r\n\r\n{\"ws_token\":\"ws-1\",\"auth_token\":\"at-1\"}\n\n\n\n";
const HANDSHAKE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
    sec-websocket-accept: <ACCEPT>\r\n\r\n";

fuzz_target!(init: log_lines(), |frames: &[u8]| {
    let mut config = config(Generation::V2);
    config.firmware.check = false;
    world::run_online(config, vec![SIGN_IN.to_vec(), [HANDSHAKE, frames].concat()], 1 + frames.len() % 64);
});
