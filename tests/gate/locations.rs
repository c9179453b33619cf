//! Where a registry sends its clients.

use crate::support::{Gate, Head, MANIFEST, Registry, UPLOADS, request};

/// The location that a client gets where the registry says this one.
async fn location(
    registry: &Registry,
    gate: &Gate,
    method: &str,
    status: u16,
    said: &str,
) -> String {
    let target = if method == "POST" { UPLOADS } else { MANIFEST };
    let field = format!("location: {said}");
    let head = answered(
        registry,
        gate,
        &request(method, target, "content-length: 0\r\n"),
        status,
        &field,
    )
    .await;
    assert_eq!(head.status(), status);
    head.get("location").unwrap().to_owned()
}

/// The head that a client gets of the registry's answer with this field.
async fn answered(registry: &Registry, gate: &Gate, asked: &str, status: u16, field: &str) -> Head {
    let mut client = gate.connect().await;
    client.send(asked).await;
    let mut wire = registry.accept().await;
    wire.head().await;
    wire.send(format!(
        "HTTP/1.1 {status} Somewhere\r\n{field}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    ))
    .await;
    client.answer().await.0
}

#[tokio::test]
async fn a_location_on_the_registry_becomes_relative() {
    let registry = Registry::start().await;
    let gate = Gate::start(&registry.url()).await;
    let upload = "/v2/lib/a/blobs/uploads/0b8f?_state=a%3D";
    for host in [
        // By its own name, or by the one that the client asked for, whatever scheme it believes in.
        registry.url(),
        format!("https://{}", registry.authority()),
        "http://registry.example".to_owned(),
        "https://registry.example".to_owned(),
        "https://Registry.Example".to_owned(),
        "https://registry.example:443".to_owned(),
        "http://registry.example:80".to_owned(),
        // Relative already.
        String::new(),
    ] {
        let said = format!("{host}{upload}");
        let got = location(&registry, &gate, "POST", 202, &said).await;
        assert_eq!(got, upload, "{said}");
    }
}

#[tokio::test]
async fn a_redirect_elsewhere_passes_and_is_not_followed() {
    let registry = Registry::start().await;
    let elsewhere = Registry::start().await;
    let gate = Gate::start(&registry.url()).await;
    for (status, said) in [
        (307, format!("{}/blob?signature=x%2Fy", elsewhere.url())),
        (302, "https://cdn.example/blob".to_owned()),
        (301, "https://registry.example:8443/v2/".to_owned()),
        (307, "https://registry.example.evil/v2/".to_owned()),
    ] {
        let got = location(&registry, &gate, "GET", status, &said).await;
        assert_eq!(got, said);
    }
    assert!(!elsewhere.is_called().await);
}

#[tokio::test]
async fn the_next_page_of_a_list_is_on_the_gate_and_links_elsewhere_pass() {
    let registry = Registry::start().await;
    let gate = Gate::start(&registry.url()).await;
    let next = "/v2/_catalog?last=b&n=2";
    let elsewhere = "<https://docs.example/a,b>; rel=\"help\"";
    for (said, expected) in [
        (
            format!("<{next}>; rel=\"next\""),
            format!("<{next}>; rel=\"next\""),
        ),
        (
            format!("<{}{next}>; rel=\"next\"", registry.url()),
            format!("<{next}>; rel=\"next\""),
        ),
        (
            format!("{elsewhere}, <https://registry.example{next}>; rel=\"next\""),
            format!("{elsewhere}, <{next}>; rel=\"next\""),
        ),
        ("<unended".to_owned(), "<unended".to_owned()),
    ] {
        let asked = request("GET", "/v2/_catalog", "");
        let head = answered(&registry, &gate, &asked, 200, &format!("link: {said}")).await;
        assert_eq!(head.get("link"), Some(&*expected));
    }
}
