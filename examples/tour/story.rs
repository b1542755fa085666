//! Output of the tour, and the checks that can end it.

use std::sync::atomic::{AtomicUsize, Ordering};

use tonic::{Response, Status};
use tonic_types::StatusExt as _;

/// A step's result; an error ends the tour.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Prints a line.
pub fn say(text: &str) {
    println!("{text}");
}

/// Begins the next step.
pub fn step(title: &str) {
    static STEPS: AtomicUsize = AtomicUsize::new(1);
    println!("\n{:>2}. {title}", STEPS.fetch_add(1, Ordering::Relaxed));
}

/// Prints the method that is called, and with what.
pub fn call(method: &str, with: &str) {
    println!("    {method}  {with}");
}

/// Prints what the answer is.
pub fn got(answer: &str) {
    println!("      -> {answer}");
}

/// The first characters of a secret.
pub fn short(secret: &str) -> String {
    let kept: String = secret.chars().take(14).collect();
    if kept.len() == secret.len() {
        kept
    } else {
        format!("{kept}...")
    }
}

/// Ends the tour if something is not as it should be.
pub fn ensure(holds: bool, wanted: &str) -> Outcome {
    if holds {
        Ok(())
    } else {
        Err(format!("this should hold: {wanted}").into())
    }
}

/// Checks that a call was refused, and for which reason.
pub fn refused<T>(answer: Result<Response<T>, Status>, wanted: &str) -> Outcome<Status> {
    let Err(status) = answer else {
        return Err(format!("this should be refused with {wanted}, but was answered").into());
    };
    let reason = status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default();
    got(&format!(
        "{:?}, reason {reason}: {}",
        status.code(),
        status.message()
    ));
    ensure(reason == wanted, &format!("the reason is {wanted}"))?;
    Ok(status)
}

/// The part of an answer that must be there.
pub fn present<T>(part: Option<T>, name: &str) -> Outcome<T> {
    part.ok_or_else(|| format!("the answer has no {name}").into())
}
