//! LibreChat's arithmetic in settings, such as `1000 * 60 * 15`. A small parser evaluates it; no
//! code is executed.

/// The error of a text that is no number at all.
pub const NOT_A_NUMBER: &str = "must be a number or arithmetic such as 2 * 10";
const MAX_LENGTH: usize = 256;
/// The parser recurses for each parenthesis; this bounds its stack.
const MAX_DEPTH: usize = 32;

/// Evaluates decimal numbers, `+ - * / %`, parentheses and white space. The value is always finite.
///
/// `%` is the remainder with the divisor's sign, as in mathjs. Percentages and implicit
/// multiplication, which mathjs also has, and division by zero are refused: in a setting they are
/// mistakes. The error says what is wrong without quoting the text.
pub fn evaluate(text: &str) -> Result<f64, &'static str> {
    if text.len() > MAX_LENGTH {
        return Err("is too long");
    }
    let mut parser = Parser {
        rest: text.trim(),
        depth: 0,
    };
    let value = parser.sum()?;
    match parser.peek() {
        Some(_) => Err("must consist of numbers, + - * / % and parentheses"),
        None if value.is_finite() => Ok(value),
        None => Err("is too large"),
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    /// The next character after white space. A line break does not count as white space, because it
    /// ends an expression in mathjs.
    fn peek(&mut self) -> Option<char> {
        self.rest = self
            .rest
            .trim_start_matches(|c: char| c.is_whitespace() && c != '\n');
        self.rest.chars().next()
    }

    fn take(&mut self, wanted: &[char]) -> Option<char> {
        let found = self.peek().filter(|c| wanted.contains(c))?;
        self.rest = &self.rest[found.len_utf8()..];
        Some(found)
    }

    fn sum(&mut self) -> Result<f64, &'static str> {
        let mut value = self.product()?;
        while let Some(operator) = self.take(&['+', '-']) {
            let right = self.product()?;
            value = if operator == '+' {
                value + right
            } else {
                value - right
            };
        }
        Ok(value)
    }

    fn product(&mut self) -> Result<f64, &'static str> {
        let mut value = self.signed()?;
        while let Some(operator) = self.take(&['*', '/', '%']) {
            let right = self.signed()?;
            value = match operator {
                '*' => value * right,
                _ if right == 0.0 => return Err("divides by zero"),
                '/' => value / right,
                _ => (value % right + right) % right,
            };
        }
        Ok(value)
    }

    fn signed(&mut self) -> Result<f64, &'static str> {
        let mut negative = false;
        while let Some(sign) = self.take(&['+', '-']) {
            negative ^= sign == '-';
        }
        let value = self.primary()?;
        Ok(if negative { -value } else { value })
    }

    fn primary(&mut self) -> Result<f64, &'static str> {
        if self.take(&['(']).is_none() {
            return self.number();
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("is nested too deeply");
        }
        let value = self.sum()?;
        self.depth -= 1;
        self.take(&[')'])
            .map(|_| value)
            .ok_or("lacks a closing parenthesis")
    }

    fn number(&mut self) -> Result<f64, &'static str> {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits.parse().map_err(|_| NOT_A_NUMBER)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(text: &str, expected: f64) {
        let value = evaluate(text).unwrap_or_else(|error| panic!("{text:?} {error}"));
        assert!((value - expected).abs() < 1e-9, "{text:?} is {value}");
    }

    #[test]
    fn n01_librechats_expressions_have_librechats_values() {
        for (text, expected) in [
            ("1000 * 60 * 15", 900_000.0),
            ("(1000 * 60 * 60 * 24) * 7", 604_800_000.0),
            ("(1000*60*60) + (1000*60*30)", 5_400_000.0),
            ("  42  ", 42.0),
            ("+42", 42.0),
            ("-10", -10.0),
            ("--5", 5.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("010", 10.0),
            ("9007199254740991", 9_007_199_254_740_991.0),
            ("2 * (3 + 4)", 14.0),
            ("((2 + 3) * 4)", 20.0),
            ("10 % 3", 1.0),
            ("-5 % 3", 1.0),
            ("5 % -3", -1.0),
            ("-5 + 10", 5.0),
            ("2\u{a0}+ 2", 4.0),
            ("7 - 2 - 1", 4.0),
            ("12 / 3 / 2", 2.0),
        ] {
            holds(text, expected);
        }
    }

    #[test]
    fn n02_anything_but_arithmetic_is_refused() {
        for text in [
            "process.exit()",
            "require('x')",
            "__import__",
            "1;2",
            "a",
            "0x10",
            "1e3",
            "2**31",
            "9**9**9",
            "/*x*/1",
            "`1`",
            "$(id)",
            "1//2",
            "2 3",
            "2(3)",
            "1.2.3",
            "10%",
            "1 +\n2",
            "",
            " ",
            "(1",
            "1)",
            "()",
            ".",
            "1,000",
            "1_000",
            "inf",
            "NaN",
            "1 / 0",
            "0 / 0",
            "1 / (1 / 0)",
            "5 % 0",
        ] {
            assert!(evaluate(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn length_depth_and_value_are_bounded() {
        assert_eq!(evaluate(&"1+".repeat(200)), Err("is too long"));
        assert_eq!(
            evaluate(&format!("{}1{}", "(".repeat(40), ")".repeat(40))),
            Err("is nested too deeply")
        );
        assert_eq!(
            evaluate(&format!("1{}", "/(.1+.2-.3)".repeat(22))),
            Err("is too large")
        );
    }

    fn expression() -> impl Strategy<Value = (String, f64)> {
        let leaf = (0_u32..1000).prop_map(|n| (n.to_string(), f64::from(n)));
        leaf.prop_recursive(4, 16, 2, |inner| {
            (inner.clone(), inner, 0_u8..3).prop_map(|((a, x), (b, y), operator)| match operator {
                0 => (format!("({a} + {b})"), x + y),
                1 => (format!("({a}-{b})"), x - y),
                _ => (format!("({a} *{b})"), x * y),
            })
        })
    }

    proptest! {
        #[test]
        fn any_expression_has_the_value_of_its_tree((text, expected) in expression()) {
            prop_assume!(text.len() <= MAX_LENGTH);
            let value = evaluate(&text).map_err(TestCaseError::fail)?;
            prop_assert!((value - expected).abs() <= expected.abs() * 1e-9);
        }

        #[test]
        fn any_text_is_a_finite_value_or_refused(text in "[0-9.+*/%() \\-]{0,300}|.{0,40}") {
            if let Ok(value) = evaluate(&text) {
                prop_assert!(value.is_finite());
            }
        }
    }
}
