//! Where tokens are allowed, and what happens without them.

use super::*;

#[test]
fn an_empty_bearer_is_never_returned() {
    let values = Ann {
        token: Ok(""),
        ..ANN
    };
    for template in [
        "Bearer {{LIBRECHAT_OPENID_TOKEN}}",
        "{{LIBRECHAT_OPENID_TOKEN}}",
    ] {
        for (on, expected) in [
            (OnUnresolved::Fail, Err(vec![Status::Missing])),
            (OnUnresolved::Omit, Ok(None)),
            (OnUnresolved::Empty, Ok(None)),
        ] {
            assert_eq!(one(&values, on, Sink::Header, template), expected);
        }
    }
    let absent = "Basic {{LIBRECHAT_USER_GOOGLEID}}";
    assert_eq!(
        one(&ANN, OnUnresolved::Fail, Sink::Header, absent),
        Err(vec![Status::Missing])
    );
    assert_eq!(one(&ANN, OnUnresolved::Keep, Sink::Env, absent), Ok(None));
    assert_eq!(text(&ANN, absent), some("Basic "));
}

#[test]
fn tokens_stay_out_where_they_do_not_belong() {
    for scope in [Scope::NoTokens, Scope::EnvOnly] {
        let entries = [(
            "args[0]",
            "--t={{LIBRECHAT_OPENID_TOKEN}}",
            Sink::Text,
            scope,
        )];
        assert!(render(&ANN, ResolveOptions::default(), &entries).is_err());
    }
    let entries = [(
        "url",
        "${HOST}/a?t={{LIBRECHAT_OPENID_TOKEN}}",
        Sink::Url,
        Scope::Full,
    )];
    let rendered = render(&ANN, ResolveOptions::default(), &entries).expect("allowed here");
    assert_eq!(
        rendered.values,
        [Some(
            "https://env.example/a?t=at-%24%26%241%24%24%5C1%5C0%25s%7B0%7D".to_owned()
        )]
    );
}

#[test]
fn only_returned_tokens_count_as_released() {
    let entries = [
        ("A", "{{LIBRECHAT_OPENID_TOKEN}}", Sink::Header, Scope::Full),
        (
            "B",
            "{{LIBRECHAT_OPENID_TOKEN@b}}{{NAME}}",
            Sink::Header,
            Scope::Full,
        ),
    ];
    let rendered = render(&ANN, options(OnUnresolved::Omit), &entries).expect("omitted");
    let released: Vec<_> = rendered.released.into_iter().collect();
    assert_eq!(released, [Placeholder::from_name("LIBRECHAT_OPENID_TOKEN")]);
}
