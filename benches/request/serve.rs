//! One server, until its standard input ends.

use std::convert::Infallible;
use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Either, Full};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis::Guard;
use portcullis::config::Config;
use portcullis::serve::Server;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tower::service_fn;

use crate::cases::{self, Log};
use crate::load::{BLOB, LENGTH};
use crate::zeros::Zeros;

const TLS: &str = "[tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\nclient_ca = [\"ca.crt\"]\n";

/// Serves the case of this name, and prints its port first.
pub(crate) fn run(name: &str, files: &Path, plain: bool) {
    std::thread::Builder::new()
        .spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        })
        .unwrap();
    let case = cases::named(name);
    match case.log {
        Log::Off | Log::File => {}
        Log::Metrics => {
            let recorder = PrometheusBuilder::new().build_recorder();
            metrics::set_global_recorder(recorder).unwrap();
        }
        Log::Tracing => {
            let file = File::create(files.join("tracing.jsonl")).unwrap();
            let subscriber = tracing_subscriber::fmt().json().flatten_event(true);
            subscriber.with_writer(file).init();
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        std::io::stdout().flush().unwrap();
        match &case.sections {
            None => bare(listener, files, plain).await,
            Some(sections) => {
                let tls = if plain { "" } else { TLS };
                let text = format!("preset = \"registry\"\n{tls}{sections}");
                let config = Config::from_toml(&text, files).unwrap();
                let guard = Guard::from_config(&config).unwrap();
                let server = if name == cases::UNGUARDED {
                    match guard.acceptor() {
                        Some(acceptor) => Server::unguarded().with_acceptor(acceptor.clone()),
                        None => Server::unguarded(),
                    }
                } else {
                    Server::new(guard)
                };
                server.serve(listener, service_fn(answer)).await.unwrap();
            }
        }
    });
}

/// Hyper's own server, over rustls with its own verifier.
async fn bare(listener: TcpListener, files: &Path, plain: bool) {
    let tls = (!plain).then(|| TlsAcceptor::from(Arc::new(rustls_config(files))));
    while let Ok((socket, _)) = listener.accept().await {
        socket.set_nodelay(true).unwrap();
        let tls = tls.clone();
        tokio::spawn(async move {
            match tls {
                None => connection(socket).await,
                Some(tls) => connection(tls.accept(socket).await.unwrap()).await,
            }
        });
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let service = TowerToHyperService::new(service_fn(answer));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    // A client that goes away is no news.
    let _ = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

fn rustls_config(files: &Path) -> rustls::ServerConfig {
    let certificates = |name: &str| {
        let certificates = CertificateDer::pem_file_iter(files.join(name)).unwrap();
        certificates.collect::<Result<Vec<_>, _>>().unwrap()
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificates("ca.crt").remove(0)).unwrap();
    let list = CertificateRevocationListDer::from_pem_file(files.join("crl.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let verifier = verifier.with_crls([list]).build().unwrap();
    let key = PrivateKeyDer::from_pem_file(files.join("tls.key")).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates("tls.crt"), key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

async fn answer<B>(
    request: Request<B>,
) -> Result<Response<Either<Full<Bytes>, Zeros>>, Infallible> {
    static MANIFEST: [u8; 1024] = [b' '; 1024];
    let body = if request.uri().path() == BLOB {
        Either::Right(Zeros(LENGTH))
    } else {
        Either::Left(Full::new(Bytes::from_static(&MANIFEST)))
    };
    let mut response = Response::new(body);
    let media_type = http::HeaderValue::from_static("application/vnd.oci.image.manifest.v1+json");
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, media_type);
    Ok(response)
}
