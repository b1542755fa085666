//! How templates are rendered, rule by rule.

mod tokens;

use std::collections::BTreeMap;

use super::MAX_OUTPUT_BYTES;
use crate::template::batch::Batch;
use crate::template::batch::{Entry, Scope};
use crate::template::outcome::{RenderError, Rendered, ResolveOptions};
use crate::template::values::{Value, Values};
use crate::template::vocabulary::{
    BodyField, OnUnresolved, OpenIdField, Placeholder, Sink, Status, UserField,
};

/// The values of Ann, who is signed in; `token` is her access token or why she has none.
struct Ann {
    name: &'static str,
    token: Result<&'static str, Status>,
    body: Option<BTreeMap<&'static str, &'static str>>,
}

const TOKEN: &str = "at-$&$1$$\\1\\0%s{0}";
const ANN: Ann = Ann {
    name: "Ann",
    token: Ok(TOKEN),
    body: None,
};

impl Values for Ann {
    fn value(&self, placeholder: &Placeholder) -> Value<'_> {
        match placeholder {
            Placeholder::User(UserField::Name)
            | Placeholder::OpenId {
                field: OpenIdField::UserName,
                ..
            } => Value::field(Some(self.name)),
            Placeholder::User(UserField::EmailVerified) => Value::field(Some(true.to_string())),
            Placeholder::User(_) => Value::field(None::<&str>),
            Placeholder::Body(field) => self.body(*field),
            Placeholder::OpenId {
                field: OpenIdField::AccessToken,
                provider,
            } => match self.token {
                Ok(token) if provider.is_none() => Value::required(Some(token)),
                Ok(_) => Value::Unresolved(Status::NotFederated),
                Err(status) => Value::Unresolved(status),
            },
            Placeholder::Custom(name) if name == "NAME" => Value::field(Some(self.name)),
            Placeholder::Custom(_) => Value::Unresolved(Status::UnknownName),
            Placeholder::Declared(_) => Value::required(None::<&str>),
            Placeholder::Env(name) if name == "HOST" => {
                Value::required(Some("https://env.example"))
            }
            Placeholder::Env(name) if name == "EMPTY" => Value::required(Some("")),
            Placeholder::Env(name) if name == "CANARY" => Value::required(Some("canary")),
            Placeholder::Env(_) => Value::Unresolved(Status::NotAllowed),
            _ => Value::Unresolved(Status::Missing),
        }
    }
}

impl Ann {
    fn body(&self, field: BodyField) -> Value<'_> {
        match &self.body {
            None => Value::Unresolved(Status::Missing),
            Some(body) => Value::field(body.get(field.key()).copied()),
        }
    }
}

fn options(on_unresolved: OnUnresolved) -> ResolveOptions {
    ResolveOptions {
        on_unresolved,
        user_authored: false,
    }
}

fn render(
    values: &Ann,
    options: ResolveOptions,
    entries: &[(&str, &str, Sink, Scope)],
) -> Result<Rendered, RenderError> {
    let entry = |(name, text, sink, scope): &(&str, &str, Sink, Scope)| {
        Entry::new((*name).to_owned(), text, *sink, *scope)
    };
    let request = Batch::new(entries.iter().map(entry).collect()).expect("within the limits");
    request.render(values, options)
}

fn one(
    values: &Ann,
    on: OnUnresolved,
    sink: Sink,
    text: &str,
) -> Result<Option<String>, Vec<Status>> {
    match render(values, options(on), &[("X", text, sink, Scope::Full)]) {
        Ok(mut rendered) => Ok(rendered.values.remove(0)),
        Err(RenderError::Unresolved(failed)) => Err(failed.into_iter().map(|o| o.status).collect()),
        Err(RenderError::OutputTooLarge) => Err(Vec::new()),
    }
}

fn text(values: &Ann, template: &str) -> Result<Option<String>, Vec<Status>> {
    one(values, OnUnresolved::Fail, Sink::Text, template)
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "compared with results of this type"
)]
fn some(text: &str) -> Result<Option<String>, Vec<Status>> {
    Ok(Some(text.to_owned()))
}

#[test]
fn a_token_is_inserted_byte_for_byte_under_both_names() {
    let bearer = some(&format!("Bearer {TOKEN}"));
    for name in ["TOKEN", "ACCESS_TOKEN"] {
        let template = format!("Bearer {{{{LIBRECHAT_OPENID_{name}}}}}");
        assert_eq!(
            one(&ANN, OnUnresolved::Fail, Sink::Header, &template),
            bearer
        );
    }
}

#[test]
fn a_value_is_never_expanded_again() {
    for name in [
        "{{LIBRECHAT_OPENID_TOKEN}}",
        "${CANARY}",
        "$CANARY",
        "{{NAME}}{{NAME}}",
        "$(id)`id`%X%",
    ] {
        let bob = Ann { name, ..ANN };
        for template in [
            "{{LIBRECHAT_OPENID_USER_NAME}}",
            "{{LIBRECHAT_USER_NAME}}",
            "{{NAME}}",
        ] {
            assert_eq!(text(&bob, template), some(name));
        }
    }
    let brace = Ann { name: "{", ..ANN };
    assert_eq!(
        text(&brace, "{{NAME}}{{{NAME}}CANARY}")
            .ok()
            .flatten()
            .as_deref(),
        Some("{{{CANARY}")
    );
}

#[test]
fn all_kinds_resolve_side_by_side() {
    let body = Ann {
        body: Some(BTreeMap::from([("conversationId", "c-9")])),
        ..ANN
    };
    let template = " {{LIBRECHAT_USER_NAME}}-${CANARY}{{NAME}} {{LIBRECHAT_BODY_CONVERSATIONID}}\
        {{LIBRECHAT_USER_EMAILVERIFIED}}{{X}} {{LIBRECHAT_USER_NAME}} ";
    assert_eq!(
        text(&body, template),
        some(" Ann-canaryAnn c-9true{{X}} Ann ")
    );
}

#[test]
fn an_absent_field_is_empty_but_an_absent_body_is_missing() {
    let template = "<{{LIBRECHAT_USER_GOOGLEID}}{{LIBRECHAT_BODY_MESSAGEID}}>";
    let body = Ann {
        body: Some(BTreeMap::new()),
        ..ANN
    };
    assert_eq!(text(&body, template), some("<>"));
    assert_eq!(text(&ANN, template), Err(vec![Status::Missing]));
}

#[test]
fn an_unknown_name_stays_and_is_reported_but_a_reserved_one_fails() {
    let entries = [("X", "{{A}}{{A}}{{NAME}}", Sink::Header, Scope::Full)];
    let rendered = render(&ANN, ResolveOptions::default(), &entries).expect("resolved");
    assert_eq!(rendered.values, [Some("{{A}}{{A}}Ann".to_owned())]);
    let told: Vec<_> = rendered
        .outcomes
        .iter()
        .map(|o| (o.placeholder.as_str(), o.status))
        .collect();
    assert_eq!(
        told,
        [
            ("{{A}}", Status::UnknownName),
            ("{{NAME}}", Status::Resolved)
        ]
    );
    assert_eq!(
        text(&ANN, "{{LIBRECHAT_OIDC_TOKEN}}"),
        Err(vec![Status::UnknownName])
    );
    assert_eq!(
        text(&ANN, "{{LIBRECHAT_OPENID_{{X}}}}"),
        Err(vec![Status::UnknownName])
    );
}

#[test]
fn an_environment_name_not_allowed_or_empty_is_unresolved() {
    assert_eq!(text(&ANN, "${JWT_SECRET}"), Err(vec![Status::NotAllowed]));
    assert_eq!(text(&ANN, "${EMPTY}"), Err(vec![Status::Missing]));
}

#[test]
fn every_failing_placeholder_of_every_entry_is_named_at_once() {
    let values = Ann {
        token: Err(Status::Expired),
        ..ANN
    };
    let entries = [
        (
            "A",
            "{{LIBRECHAT_OPENID_TOKEN}}{{LIBRECHAT_OPENID_TOKEN}}${NO}",
            Sink::Header,
            Scope::Full,
        ),
        ("B", "{{NAME}}", Sink::Header, Scope::Full),
        (
            "C",
            "{{LIBRECHAT_BODY_MESSAGEID}}",
            Sink::Header,
            Scope::Full,
        ),
    ];
    let failed = match render(&values, ResolveOptions::default(), &entries) {
        Err(RenderError::Unresolved(failed)) => failed,
        other => panic!("{other:?}"),
    };
    let told: Vec<_> = failed
        .iter()
        .map(|o| (o.entry.as_str(), o.status))
        .collect();
    assert_eq!(
        told,
        [
            ("A", Status::Expired),
            ("A", Status::NotAllowed),
            ("C", Status::Missing)
        ]
    );
}

#[test]
fn omit_empty_and_keep_do_what_they_say() {
    let values = Ann {
        token: Err(Status::NotFederated),
        ..ANN
    };
    let template = "a {{LIBRECHAT_OPENID_TOKEN}} b";
    for (on, expected) in [
        (OnUnresolved::Fail, Err(vec![Status::NotFederated])),
        (OnUnresolved::Omit, Ok(None)),
        (OnUnresolved::Empty, some("a  b")),
        (OnUnresolved::Keep, some(template)),
    ] {
        assert_eq!(one(&values, on, Sink::Header, template), expected);
    }
}

#[test]
fn a_url_cannot_be_left_out() {
    let failed = one(&ANN, OnUnresolved::Fail, Sink::Url, "${NO}/x");
    assert_eq!(failed, Err(vec![Status::NotAllowed]));
    let template = "https://h/${NO}";
    assert_eq!(
        one(&ANN, OnUnresolved::Omit, Sink::Url, template),
        Err(vec![Status::NotAllowed])
    );
    assert_eq!(
        one(&ANN, OnUnresolved::Empty, Sink::Url, template),
        some("https://h/")
    );
}

#[test]
fn an_unsafe_value_counts_as_unresolved() {
    let bob = Ann {
        name: "a\r\nX-Admin: 1",
        ..ANN
    };
    let header = |on| one(&bob, on, Sink::Header, "v {{NAME}}");
    assert_eq!(header(OnUnresolved::Fail), Err(vec![Status::UnsafeValue]));
    assert_eq!(header(OnUnresolved::Omit), Ok(None));
    assert_eq!(header(OnUnresolved::Empty), some("v"));
    assert_eq!(
        one(&ANN, OnUnresolved::Keep, Sink::Header, "a\nb"),
        Ok(None)
    );
}

#[test]
fn a_user_authored_template_resolves_custom_variables_only() {
    let user = |on_unresolved| ResolveOptions {
        on_unresolved,
        user_authored: true,
    };
    let template = "{{NAME}} {{LIBRECHAT_USER_NAME}} ${CANARY}";
    let entries = [("X", template, Sink::Header, Scope::Full)];
    let rendered = render(&ANN, user(OnUnresolved::Fail), &entries).expect("resolved");
    assert_eq!(
        rendered.values,
        [Some("Ann {{LIBRECHAT_USER_NAME}} ${CANARY}".to_owned())]
    );
    for name in ["OPENID_TOKEN", "OPENID_ID_TOKEN", "GRAPH_ACCESS_TOKEN"] {
        let template = format!("Bearer {{{{LIBRECHAT_{name}}}}}");
        let entries = [("X", template.as_str(), Sink::Header, Scope::Full)];
        assert!(render(&ANN, user(OnUnresolved::Fail), &entries).is_err());
        let kept = render(&ANN, user(OnUnresolved::Keep), &entries).expect("dropped");
        assert_eq!(kept.values, [None]);
    }
}

#[test]
fn the_values_and_outcomes_of_a_call_have_4_mebibytes_at_most() {
    let outcome = "X".len() + "{{NAME}}".len();
    let big: &'static str = "a".repeat((MAX_OUTPUT_BYTES - outcome) / 2).leak();
    let values = Ann { name: big, ..ANN };
    assert!(text(&values, "{{NAME}}{{NAME}}").is_ok());
    assert_eq!(text(&values, "{{NAME}}{{NAME}}ab"), Err(Vec::new()));
    assert_eq!(text(&values, &"{{NAME}}".repeat(10_000)), Err(Vec::new()));
}

#[test]
fn nothing_prints_a_value() {
    let rendered = render(
        &ANN,
        ResolveOptions::default(),
        &[("X", "${CANARY}", Sink::Text, Scope::Full)],
    );
    assert!(!format!("{rendered:?}").contains("canary"));
}
