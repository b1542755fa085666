//! A minimal browser: it signs a user in through the provider's own login and consent forms.

use std::collections::{BTreeMap, HashMap};

use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use url::Url;
use url::form_urlencoded;

const MAX_STEPS: usize = 20;

/// What the provider sends to the callback address.
#[derive(Clone, Debug)]
pub struct Callback {
    pub code: String,
    pub state: String,
    pub iss: String,
}

/// Signs `login` in at the provider and gives the consent it asks for. The callback itself is not
/// called.
pub async fn sign_in(authorization_url: &str, login: &str) -> Callback {
    let start = Url::parse(authorization_url).expect("an authorization URL");
    let callback = start
        .query_pairs()
        .find(|(name, _)| name == "redirect_uri")
        .expect("a redirect_uri")
        .1
        .into_owned();
    let mut browser = Browser::new();
    let mut page = browser.open(start, None).await;
    for _ in 0..MAX_STEPS {
        page = match page {
            Page::Redirect(to) if to.as_str().split('?').next() == Some(callback.as_str()) => {
                return Callback::of(&to);
            }
            Page::Redirect(to) => browser.open(to, None).await,
            Page::Html { url, html } => {
                let (action, fields) = form(&url, &html, login);
                browser.open(action, Some(fields)).await
            }
        };
    }
    panic!("no callback after {MAX_STEPS} steps");
}

impl Callback {
    fn of(url: &Url) -> Self {
        let mut query: HashMap<String, String> = url.query_pairs().into_owned().collect();
        let mut take = |name: &str| {
            query
                .remove(name)
                .unwrap_or_else(|| panic!("no {name} in {url}"))
        };
        Self {
            code: take("code"),
            state: take("state"),
            iss: take("iss"),
        }
    }
}

enum Page {
    Redirect(Url),
    Html { url: Url, html: String },
}

/// One user's browser, with its cookies by path and name.
struct Browser {
    http: reqwest::Client,
    cookies: BTreeMap<(String, String), String>,
}

impl Browser {
    fn new() -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .expect("a client");
        Self {
            http,
            cookies: BTreeMap::new(),
        }
    }

    async fn open(&mut self, url: Url, form: Option<String>) -> Page {
        let request = match form {
            None => self.http.get(url.clone()),
            Some(fields) => self
                .http
                .post(url.clone())
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(fields),
        };
        let answer = request
            .header(COOKIE, self.cookies_for(url.path()))
            .send()
            .await
            .expect("the provider answers");
        self.keep_cookies(answer.headers());
        let (status, location) = (answer.status(), answer.headers().get(LOCATION).cloned());
        let html = answer.text().await.expect("a page");
        match location {
            Some(to) if status.is_redirection() => {
                Page::Redirect(url.join(to.to_str().expect("ASCII")).expect("an address"))
            }
            _ => {
                assert!(status.is_success(), "{url}: {status} {html}");
                Page::Html { url, html }
            }
        }
    }

    fn cookies_for(&self, path: &str) -> String {
        let sent = self
            .cookies
            .iter()
            .filter(|((under, _), _)| path.starts_with(under.as_str()));
        sent.map(|((_, name), value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn keep_cookies(&mut self, headers: &HeaderMap) {
        for line in headers.get_all(SET_COOKIE) {
            let mut parts = line.to_str().expect("ASCII").split("; ");
            let (name, value) = parts
                .next()
                .and_then(|pair| pair.split_once('='))
                .expect("name=value");
            let path = parts
                .find_map(|part| part.strip_prefix("path="))
                .unwrap_or("/");
            let key = (path.to_owned(), name.to_owned());
            // The provider deletes a cookie by emptying it.
            if value.is_empty() {
                self.cookies.remove(&key)
            } else {
                self.cookies.insert(key, value.to_owned())
            };
        }
    }
}

/// Where the page's first form goes, and its fields with the login name filled in.
fn form(url: &Url, html: &str, login: &str) -> (Url, String) {
    let form = html
        .split_once("<form")
        .unwrap_or_else(|| panic!("{url}: neither a redirect nor a form: {html}"))
        .1;
    let form = form.split("</form>").next().unwrap_or(form);
    let action = url
        .join(&attribute(form, "action").expect("an action"))
        .expect("an address");
    let mut fields = form_urlencoded::Serializer::new(String::new());
    for input in form.split("<input").skip(1) {
        let input = input.split('>').next().unwrap_or(input);
        let Some(name) = attribute(input, "name") else {
            continue;
        };
        let value = match name.as_str() {
            "login" => login.to_owned(),
            "password" => "any".to_owned(),
            _ => attribute(input, "value").unwrap_or_default(),
        };
        fields.append_pair(&name, &value);
    }
    (action, fields.finish())
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let value = tag.split_once(&format!(" {name}=\""))?.1;
    Some(value.split('"').next()?.replace("&amp;", "&"))
}
