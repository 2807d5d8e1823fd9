//! One request over HTTP, blocking: what starting and checking servers takes, with no client library in between.

use std::{
    io::{Error, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Asks `address` (`ip:port`): the status and the body of the answer. Connecting, reading and writing may take `bound`
/// each.
pub(crate) fn send(
    address: &str,
    bound: Duration,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<(u16, Vec<u8>)> {
    let socket: SocketAddr = address.parse().map_err(|e| Error::new(ErrorKind::InvalidInput, e))?;
    let mut stream = connect(socket, bound)?;
    // 1.0: the answer ends with the connection, and is not in chunks.
    let length = body.len();
    let mut request = format!("{method} {path} HTTP/1.0\r\nhost: {address}\r\ncontent-length: {length}\r\n");
    headers.iter().for_each(|(name, value)| request += &format!("{name}: {value}\r\n"));
    stream.write_all(&[request.as_bytes(), b"\r\n", body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| Error::new(ErrorKind::InvalidData, "this is no answer of an HTTP server"))
}

/// A connection of which no step takes longer than `bound`.
pub(crate) fn connect(socket: SocketAddr, bound: Duration) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&socket, bound)?;
    stream.set_read_timeout(Some(bound))?;
    stream.set_write_timeout(Some(bound))?;
    Ok(stream)
}

/// Status and body.
fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    const END: &[u8] = b"\r\n\r\n";
    let end = answer.windows(END.len()).position(|window| window == END)?;
    let status = std::str::from_utf8(&answer[..end]).ok()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some((status.parse().ok()?, answer[end + END.len()..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_what_follows_the_headers() {
        assert_eq!(parse(b"HTTP/1.0 403 Forbidden\r\na: b\r\n\r\nno\r\n\r\n"), Some((403, b"no\r\n\r\n".to_vec())));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\n\r\n"), Some((200, Vec::new())));
        for torn in [b"HTTP/1.1 200 OK\r\n".as_slice(), b"SSH-2.0\r\n\r\n", b""] {
            assert_eq!(parse(torn), None);
        }
    }
}
