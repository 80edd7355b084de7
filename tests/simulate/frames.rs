//! WebSocket frames, written from RFC 6455, section 5.2.

pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A frame of the machine.
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

/// Encodes a whole frame of the service.
pub(crate) fn encode(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(0x80 | opcode, payload)
}

/// Encodes a text frame.
pub(crate) fn text(text: &str) -> Vec<u8> {
    encode(TEXT, text.as_bytes())
}

/// Encodes a text in two fragments.
pub(crate) fn fragments(text: &str, split: usize) -> Vec<u8> {
    let (first, second) = text.as_bytes().split_at(split);
    [frame(TEXT, first), frame(0x80, second)].concat()
}

fn frame(start: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![start];
    match u16::try_from(payload.len()) {
        Ok(length @ ..126) => bytes.extend(length.to_be_bytes().last()),
        Ok(length) => {
            bytes.push(126);
            bytes.extend(length.to_be_bytes());
        }
        Err(_) => {
            bytes.push(127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// Decodes the first frame of the machine, and returns how many bytes it takes. `None`: it is not complete.
pub(crate) fn read(bytes: &[u8]) -> Option<(Frame, usize)> {
    let (&start, &second) = (bytes.first()?, bytes.get(1)?);
    let (length, at) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
        length => (usize::from(length), 2),
    };
    let mask: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    let end = (at + 4).checked_add(length)?;
    let payload = bytes.get(at + 4..end)?;
    let payload = payload.iter().enumerate().map(|(n, byte)| byte ^ mask[n % 4]).collect();
    Some((Frame { opcode: start & 0x0f, payload }, end))
}
