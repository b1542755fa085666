//! How a value is written for its sink.

use super::vocabulary::Status;

/// A value under construction for one sink.
pub(super) trait Line {
    /// Adds the operator's text: from the template itself or the environment.
    fn operator(&mut self, text: &str);

    /// Adds a value from a user, a token, the body or a custom variable; the error says why it
    /// cannot be used here.
    fn value(&mut self, value: &str) -> Result<(), Status>;

    /// Notes a placeholder that became empty text.
    fn gap(&mut self) {}

    /// The finished text, or why it must not be returned.
    fn finish(self: Box<Self>) -> Result<String, Status>;
}

/// Checks the name of an environment variable, `[A-Za-z_][A-Za-z0-9_]*`. The error says what is
/// wrong with the name without repeating it.
pub fn check_env_name(name: &str) -> Result<(), &'static str> {
    let part = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(part)
    {
        Ok(())
    } else {
        Err(
            "the name of an environment variable must be letters, digits and _, and not begin with a digit",
        )
    }
}

/// Text that may contain anything.
#[derive(Default)]
pub(super) struct TextLine(String);

impl Line for TextLine {
    fn operator(&mut self, text: &str) {
        self.0.push_str(text);
    }

    fn value(&mut self, value: &str) -> Result<(), Status> {
        self.0.push_str(value);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<String, Status> {
        Ok(self.0)
    }
}

/// An argument of a command. It must not contain NUL, and it begins with `-` only if the operator
/// wrote that: a user's value must not become an option.
#[derive(Default)]
pub(super) struct ArgumentLine {
    text: String,
    /// Whether the operator's text comes first, once there is any.
    begins_with_operator: Option<bool>,
}

impl Line for ArgumentLine {
    fn operator(&mut self, text: &str) {
        if !text.is_empty() {
            self.begins_with_operator.get_or_insert(true);
        }
        self.text.push_str(text);
    }

    fn value(&mut self, value: &str) -> Result<(), Status> {
        self.gap();
        self.text.push_str(value);
        Ok(())
    }

    /// Empty text makes the argument begin with what follows, so it counts as a value.
    fn gap(&mut self) {
        self.begins_with_operator.get_or_insert(false);
    }

    fn finish(self: Box<Self>) -> Result<String, Status> {
        let is_option = self.text.starts_with('-') && self.begins_with_operator == Some(false);
        if is_option || self.text.contains('\0') {
            Err(Status::UnsafeValue)
        } else {
            Ok(self.text)
        }
    }
}

/// The value of an environment variable. It must not contain NUL, and line breaks only if the
/// operator wrote them (a PEM key).
pub(super) struct EnvLine {
    text: String,
    user_authored: bool,
}

impl EnvLine {
    pub(super) fn new(user_authored: bool) -> Self {
        Self {
            text: String::new(),
            user_authored,
        }
    }
}

impl Line for EnvLine {
    fn operator(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn value(&mut self, value: &str) -> Result<(), Status> {
        if value.contains(['\0', '\r', '\n']) {
            return Err(Status::UnsafeValue);
        }
        self.text.push_str(value);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<String, Status> {
        let broken = self.user_authored && self.text.contains(['\r', '\n']);
        if broken || self.text.contains('\0') {
            Err(Status::UnsafeValue)
        } else {
            Ok(self.text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `§` stands for the value; everything else is the operator's text.
    fn argument(template: &str, value: Option<&str>) -> Result<String, Status> {
        let mut line = Box::new(ArgumentLine::default());
        for (i, text) in template.split('§').enumerate() {
            match value {
                _ if i == 0 => {}
                Some(value) => line.value(value)?,
                None => line.gap(),
            }
            line.operator(text);
        }
        line.finish()
    }

    #[test]
    fn only_the_operator_makes_an_argument_an_option() {
        for (template, value) in [
            ("§", "-rf"),
            ("§", "--config=/etc/passwd"),
            ("§-rf", ""),
            ("§§rf", "-"),
        ] {
            assert_eq!(argument(template, Some(value)), Err(Status::UnsafeValue));
        }
        assert_eq!(argument("§-rf", None), Err(Status::UnsafeValue));
        assert_eq!(argument("§", Some("a\0")), Err(Status::UnsafeValue));
        for (template, value, expected) in [
            ("--user=§", "-rf", "--user=-rf"),
            ("-§", "-rf", "--rf"),
            ("§-x", "a", "a-x"),
            (" §", "-rf", " -rf"),
        ] {
            assert_eq!(argument(template, Some(value)).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn an_environment_name_is_a_shell_name() {
        for name in ["A", "_", "a_1", "PATH"] {
            assert_eq!(check_env_name(name), Ok(()));
        }
        for name in ["", "1A", "A-B", "A B", "A=B", "Ä", "A\0", "A.B"] {
            assert!(check_env_name(name).is_err(), "{name}");
        }
    }
}
