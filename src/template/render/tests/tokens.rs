//! Where tokens are allowed, and what happens without them.

use proptest::prelude::*;

use super::*;
use crate::template::declared::DeclaredNames;

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

#[test]
fn a_declared_variable_without_a_value_is_unresolved_in_any_place() {
    let mut entry = Entry::new("X".to_owned(), "a {{KEY}} {{key}}", Sink::Text, Scope::Full);
    entry.declare(&DeclaredNames::new(["KEY".to_owned()].into()));
    let rendered = Batch::new(vec![entry])
        .expect("within the limits")
        .render(&ANN, ResolveOptions::default());
    let Err(RenderError::Unresolved(failed)) = rendered else {
        panic!("{rendered:?}")
    };
    let statuses: Vec<_> = failed.into_iter().map(|outcome| outcome.status).collect();
    assert_eq!(statuses, [Status::Missing, Status::UnknownName]);
}

proptest! {
    #[test]
    fn no_literal_leaves_as_a_credential(
        header in "(Authorization|Cookie|X-Api-Key|x_token)",
        template in "(Bearer |DPoP |\\{\\{X\\}\\}|\\{\\{ name \\}\\}|\\{\\{NAME\\}\\}| |a|:|=){0,8}",
    ) {
        let is_literal = |value: &str| value.contains("{{");
        for on in [OnUnresolved::Fail, OnUnresolved::Omit, OnUnresolved::Empty] {
            for (name, template) in [(&*header, template.clone()), ("X", format!("Basic {template}"))] {
                let entries = [(name, template.as_str(), Sink::Header, Scope::Full)];
                if let Ok(rendered) = render(&ANN, options(on), &entries) {
                    prop_assert!(!rendered.values[0].as_deref().is_some_and(is_literal));
                }
            }
        }
    }
}
