//! Frames of HTTP/2 (RFC 9113), for what no client library sends.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::Target;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;

const ACK: u8 = 1;
/// `END_STREAM` and `END_HEADERS`.
const WHOLE_REQUEST: u8 = 5;

/// What a client's connection begins with, with a stream's window of nothing if answers are to wait.
pub(super) fn preface(window_of_nothing: bool) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let settings: &[u8] = if window_of_nothing {
        // SETTINGS_INITIAL_WINDOW_SIZE
        &[0, 4, 0, 0, 0, 0]
    } else {
        &[]
    };
    frame(&mut bytes, SETTINGS, 0, 0, settings);
    bytes
}

/// A whole request on this stream.
pub(super) fn get(bytes: &mut Vec<u8>, target: &Target, stream: u32) {
    // RFC 7541, appendix A: `:method: GET`, `:scheme: https`, then literals with the names of 4, 1 and 23.
    let mut block = vec![0x82, 0x87];
    let fields: [(&[u8], &str); 2] = [(&[4], &target.get), (&[1], "localhost")];
    let secret = target.authorization.as_deref();
    let secret = secret.map(|value| (&[0x0f, 8][..], value));
    for (name, value) in fields.into_iter().chain(secret) {
        block.extend(name);
        // A value is shorter than what a byte says.
        block.push(u8::try_from(value.len()).unwrap_or(0).min(126));
        block.extend(value.bytes().take(126));
    }
    frame(bytes, HEADERS, WHOLE_REQUEST, stream, &block);
}

pub(super) fn reset(bytes: &mut Vec<u8>, stream: u32) {
    // CANCEL
    frame(bytes, RST_STREAM, 0, stream, &[0, 0, 0, 8]);
}

pub(super) fn ping(bytes: &mut Vec<u8>) {
    frame(bytes, PING, 0, 0, b"attacker");
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    bytes.extend(&length[1..]);
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
}

/// What a server wants of a client that otherwise only waits.
pub(super) enum Wanted {
    /// Sends this, and the connection lives on.
    Reply(Vec<u8>),
    /// A stream was reset.
    Reset,
    Nothing,
}

/// Reads a frame.
pub(super) async fn next(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Wanted> {
    let mut head = [0; 9];
    io.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap_or_default()];
    io.read_exact(&mut payload).await?;
    let mut reply = Vec::new();
    match (head[3], head[4] & ACK) {
        (PING, 0) => frame(&mut reply, PING, ACK, 0, &payload),
        (SETTINGS, 0) => frame(&mut reply, SETTINGS, ACK, 0, &[]),
        (RST_STREAM, _) => return Ok(Wanted::Reset),
        _ => return Ok(Wanted::Nothing),
    }
    Ok(Wanted::Reply(reply))
}
