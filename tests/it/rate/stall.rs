//! A client that takes nothing holds no TLS connection for ever.
#![cfg(all(feature = "config", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "of the certificates this needs a part")]

use crate::pki;

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use pki::{Ca, Files, client, connect};
use portcullis::Watched;
use portcullis::tls::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const STALL: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn a_tls_connection_whose_client_takes_nothing_is_ended_and_one_that_reads_is_not() {
    let ca = Ca::new("Nodes 2026");
    let node = ca.client("node-7");
    let config = Arc::new(client(&ca, Some((&node, &[]))));
    let files = Files::new();
    let server = ca.server(&["localhost"]);
    let material = Watched::fixed(files.requiring(&server, &ca).load().unwrap());
    let acceptor = Acceptor::new(material).with_stall_timeout(STALL);
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = tcp.local_addr().unwrap();
    for reads in [false, true] {
        let serving = async {
            let (socket, _) = tcp.accept().await.unwrap();
            let mut stream = acceptor.accept(socket).await.unwrap().stream;
            let zeros = vec![0; 64 * 1024];
            // More than the buffers of both sockets take, in longer than the timeout.
            for _ in 0..2000 {
                stream.write_all(&zeros).await?;
            }
            tokio::time::sleep(2 * STALL).await;
            // An idle connection is not a stalled one.
            stream.write_all(&zeros).await?;
            stream.shutdown().await
        };
        let asking = async {
            let mut stream = connect(&config, address, "localhost").await.unwrap();
            if reads {
                let mut received = 0;
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(bytes @ 1..) = stream.read(&mut buffer).await {
                    received += bytes;
                }
                received
            } else {
                tokio::time::sleep(4 * STALL).await;
                0
            }
        };
        let (sent, received) = tokio::join!(serving, asking);
        if reads {
            sent.unwrap();
            assert_eq!(received, 2001 * 64 * 1024);
        } else {
            assert_eq!(sent.unwrap_err().kind(), ErrorKind::TimedOut);
        }
    }
}
