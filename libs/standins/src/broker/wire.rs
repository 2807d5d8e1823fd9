//! One connection: requests in, answers out, each in turn.

use bytes::Bytes;
use tansu_sans_io::{Error, Frame, Header};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::routes::Broker;

/// The largest request, bytes. A client on loopback that sends more speaks another language.
const LARGEST: usize = 16 << 20;

/// Serves until the other side closes.
///
/// # Errors
/// The connection broke, or something came that is no request.
pub(super) async fn serve(broker: &Broker, mut stream: TcpStream) -> Result<(), Error> {
    let mut head = [0; 4];
    loop {
        match stream.read_exact(&mut head).await {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let length = usize::try_from(i32::from_be_bytes(head)).unwrap_or(usize::MAX);
        if length > LARGEST {
            return Err(Error::Message(format!("a request of {length} bytes")));
        }
        let mut request = vec![0; head.len() + length];
        request[..head.len()].copy_from_slice(&head);
        stream.read_exact(&mut request[head.len()..]).await?;
        let request = Frame::request_from_bytes(Bytes::from(request))?;
        let Header::Request { api_key, api_version, correlation_id, client_id } = request.header else {
            return Err(Error::Message("an answer, and no request".to_owned()));
        };
        let Some(answer) = broker.answer(client_id.as_deref(), request.body).await else { continue };
        let header = Header::Response { correlation_id };
        stream.write_all(&Frame::response(header, answer?, api_key, api_version)?).await?;
    }
}
