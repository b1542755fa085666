use super::*;

#[test]
fn only_a_path_of_the_application_is_returned_to() {
    for good in [
        "",
        "/",
        "/c/new",
        "/c/new?x=1#y",
        "/a//b",
        "/login?next=https://example.com",
    ] {
        assert_eq!(check_return_to(good), Ok(()), "{good}");
    }
    for bad in [
        "//evil.com",
        "/\\evil.com",
        "\\evil",
        "https:evil",
        "https://evil.com",
        "javascript:alert(1)",
        "%2f%2fevil",
        "/%2fevil.com",
        "/%5Cevil",
        "/a\r\nb",
        "/a b",
        "c/new",
        "/é",
        "\t//evil",
    ] {
        assert!(check_return_to(bad).is_err(), "{bad}");
    }
}
