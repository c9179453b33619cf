use std::io;
use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest header of version 1 (`PROXY` specification §2.1), and the fixed part of version 2.
const V1_LONGEST: usize = 107;
const V2_FIXED: usize = 16;
/// Longer headers of version 2 carry nothing that is of use here; a listed peer does not send them.
const V2_LONGEST: usize = 4_096;

const CONFIG: ParseConfig = ParseConfig {
    include_tlvs: false,
    allow_v1: true,
    allow_v2: true,
};

/// Reads the header and not a byte more; the client's address, or `None` if the proxy speaks for
/// itself.
pub(super) async fn read<IO>(io: &mut IO) -> io::Result<Option<SocketAddr>>
where
    IO: AsyncRead + Unpin,
{
    let mut header = Vec::with_capacity(V1_LONGEST);
    header.push(io.read_u8().await?);
    if header == b"\r" {
        header.resize(V2_FIXED, 0);
        io.read_exact(&mut header[1..]).await?;
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if V2_FIXED + length > V2_LONGEST {
            return Err(malformed("it is longer than 4096 bytes"));
        }
        header.resize(V2_FIXED + length, 0);
        io.read_exact(&mut header[V2_FIXED..]).await?;
    } else if header == b"P" {
        // Nothing tells where the line ends but its end; what follows is the client's hello.
        while !header.ends_with(b"\r\n") {
            if header.len() == V1_LONGEST {
                return Err(malformed("its line does not end"));
            }
            header.push(io.read_u8().await?);
        }
    } else {
        return Err(malformed("it is missing"));
    }
    match ProxyHeader::parse(&header, CONFIG) {
        Ok((parsed, used)) if used == header.len() => {
            Ok(parsed.proxied_address().map(|address| address.source))
        }
        Ok(_) | Err(Error::BufferTooShort) => Err(malformed("its length is wrong")),
        Err(error) => Err(malformed(&error.to_string())),
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the peer must send a PROXY protocol header, but {what}"),
    )
}
