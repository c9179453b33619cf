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
pub(crate) async fn read<IO>(io: &mut IO) -> io::Result<Option<SocketAddr>>
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
        // Only the line's end shows where it ends; what follows is the client's hello.
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use proptest::prelude::*;

    use super::*;

    /// What is read of some bytes, and what is left of them.
    fn read_of(bytes: &[u8]) -> (io::Result<Option<SocketAddr>>, &[u8]) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        let mut rest = bytes;
        let read = runtime.block_on(read(&mut rest));
        (read, rest)
    }

    proptest! {
        #[test]
        fn a_header_gives_its_address_and_not_a_byte_of_what_follows(
            ip: [u8; 4], port: u16, extra in 0_u16..64, follows: Vec<u8>
        ) {
            let client = SocketAddrV4::new(Ipv4Addr::from(ip), port);
            let v1 = format!("PROXY TCP4 {} 192.0.2.1 {port} 443\r\n", client.ip()).into_bytes();
            let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
            v2.extend((12 + extra).to_be_bytes());
            v2.extend(ip);
            v2.extend([192, 0, 2, 1]);
            v2.extend(port.to_be_bytes());
            v2.extend([1, 0xbb]);
            v2.resize(v2.len() + usize::from(extra), 0);
            for header in [v1, v2] {
                let whole = [&header[..], &follows].concat();
                let (read, rest) = read_of(&whole);
                prop_assert_eq!(read.unwrap(), Some(SocketAddr::V4(client)));
                prop_assert_eq!(rest, &follows[..]);
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic_or_read_on(
            begin in prop::sample::select(vec![
                &b"PROXY "[..], b"PROXY TCP4 ", b"PROXY UNKNOWN", b"\r\n\r\n\0\r\nQUIT\n",
                b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24", b"",
            ]),
            more in prop::collection::vec(any::<u8>(), 0..6_000),
        ) {
            let bytes = [begin, &more].concat();
            let (_, rest) = read_of(&bytes);
            prop_assert!(bytes.len() - rest.len() <= V2_LONGEST);
        }
    }
}
