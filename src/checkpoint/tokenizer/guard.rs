//! Calls into the `tokenizers` crate, which panics where a file contradicts itself: a template that
//! names a token that is not there, for example.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use crate::error::{Error, Result};

thread_local! {
    /// Whether this thread is inside of a guarded call.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// The result of a call; a panic in it is an input error, and nothing about it is printed.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                usual(panic);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let returned = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(outer);
    returned.unwrap_or_else(|panic| {
        let what = format!("the tokenizer contradicts itself: {}", said(&*panic));
        Err(Error::input(what)
            .hint("store it again with the library that it comes from, or download it again"))
    })
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason is given")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    #[test]
    fn a_panic_is_an_error_of_the_input_and_the_next_call_is_as_usual() {
        let error = guarded::<()>(|| panic!("no entry {}", 7)).unwrap_err();
        assert_eq!(error.exit(), Exit::Input);
        assert!(error.to_string().contains("contradicts itself: no entry 7"), "{error}");
        assert_eq!(guarded(|| guarded(|| Ok(1))).unwrap(), 1);
        assert!(!GUARDED.get());
    }
}
