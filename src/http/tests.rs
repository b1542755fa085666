use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// Answers each connection with these bytes; with `hold` it then keeps the connection open.
async fn serve(answer: Vec<u8>, hold: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&answer).await;
                if hold {
                    tokio::time::sleep(Duration::from_mins(1)).await;
                }
            });
        }
    });
    format!("http://{address}")
}

async fn get(url: &str) -> Result<Response, Error> {
    let client = Client::for_issuer(&Url::parse(url).expect("a URL")).expect("a client");
    client
        .send(
            ::http::Request::get(url)
                .body(Vec::new())
                .expect("a request"),
        )
        .await
}

fn answer(body: &[u8]) -> Vec<u8> {
    [
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(),
        body,
    ]
    .concat()
}

#[tokio::test]
async fn a_response_of_one_mebibyte_is_read_and_a_longer_one_is_not() {
    let response = get(&serve(answer(&vec![b'x'; MAX_BODY]), false).await)
        .await
        .expect("a response");
    assert_eq!(
        (response.status().as_u16(), response.body().len()),
        (200, MAX_BODY)
    );
    let error = get(&serve(answer(&vec![b'x'; MAX_BODY + 1]), false).await)
        .await
        .expect_err("too large");
    assert!(matches!(error, Error::TooLarge));
}

#[tokio::test]
async fn a_redirect_is_returned_and_not_followed() {
    let url = serve(
        b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"
            .to_vec(),
        false,
    )
    .await;
    assert_eq!(get(&url).await.expect("a response").status().as_u16(), 302);
}

#[tokio::test]
async fn compressed_bytes_stay_compressed() {
    let url = serve(
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\x8b\x08"
            .to_vec(),
        false,
    )
    .await;
    assert_eq!(get(&url).await.expect("a response").body(), b"\x1f\x8b\x08");
}

#[tokio::test]
async fn a_body_that_never_ends_times_out_and_the_request_may_have_been_received() {
    let url = serve(
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx".to_vec(),
        true,
    )
    .await;
    let start = Instant::now();
    let error = get(&url).await.expect_err("a timeout");
    assert!(matches!(error, Error::TimedOut) && !error.is_unsent());
    assert!(start.elapsed() < TOTAL_TIMEOUT + Duration::from_secs(1));
}

#[tokio::test]
async fn after_a_truncated_answer_the_request_may_have_been_received() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx"[..],
        b"HTTP/1.1 2",
        b"",
    ] {
        let error = get(&serve(bytes.to_vec(), false).await)
            .await
            .expect_err("a broken answer");
        assert!(
            matches!(error, Error::Broken(_)) && !error.is_unsent(),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_truncated_or_long_error_of_the_server_is_still_its_error() {
    let head = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 9999999\r\n\r\n";
    for length in [1, 2 * MAX_BODY] {
        let answer = [&head[..], &vec![b'x'; length]].concat();
        let response = get(&serve(answer, false).await).await.expect("a status");
        assert_eq!(response.status(), 502);
        assert!(response.body().len() <= MAX_BODY);
    }
}

#[tokio::test]
async fn a_closed_port_received_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let error = get(&format!("http://{address}"))
        .await
        .expect_err("refused");
    assert!(matches!(error, Error::Unreachable(_)) && error.is_unsent());
}

#[tokio::test]
async fn a_name_that_resolves_to_an_internal_address_is_refused() {
    let client =
        Client::for_issuer(&Url::parse("https://idp.example").expect("a URL")).expect("a client");
    let error = client
        .send(
            ::http::Request::get("https://localhost:1/")
                .body(Vec::new())
                .expect("a request"),
        )
        .await
        .expect_err("refused");
    assert!(matches!(error, Error::Unreachable(_)) && error.is_unsent());
}
