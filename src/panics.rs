//! Panics as errors: whatever goes wrong inside, the user sees one line and exit code 70.

use crate::error::{CliError, Fault};
use std::panic::PanicHookInfo;
use std::sync::{Mutex, PoisonError};

/// Stack of the thread that does the work: nested subgraphs and expressions are walked recursively.
const STACK: usize = 256 << 20;

/// The first panic of the process, from whatever thread.
static FIRST: Mutex<Option<String>> = Mutex::new(None);

fn remember(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().map(ToString::to_string).or_else(|| payload.downcast_ref().cloned());
    let place = info.location().map(|l| format!(" ({}:{})", l.file(), l.line())).unwrap_or_default();
    let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    first.get_or_insert(format!("{}{place}", text.unwrap_or_default()));
}

/// The result of `work`, run on a thread with a large stack.
///
/// # Errors
/// Those of `work`, and an internal error when it panics.
pub fn caught<T: Send + 'static>(work: impl FnOnce() -> Result<T, CliError> + Send + 'static) -> Result<T, CliError> {
    std::panic::set_hook(Box::new(remember));
    let thread = std::thread::Builder::new().name("planc".into()).stack_size(STACK).spawn(work);
    let thread = thread.map_err(|e| CliError::new(Fault::Resources, format!("cannot start a thread: {e}")))?;
    thread.join().unwrap_or_else(|_| {
        let first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
        let what = first.as_deref().unwrap_or("a panic without a message");
        Err(CliError::new(Fault::Internal, format!("internal error, this is a bug in planc: {what}"))
            .help("report it with the command line and, if you may, the model"))
    })
}
