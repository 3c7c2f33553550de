//! A fork-join thread pool whose workers spin for a moment before they sleep.
//!
//! A model of a few milliseconds has hundreds of parallel steps; waking a sleeping thread for each would cost more than
//! many of them. Workers therefore spin for [`SPIN`] after a job, and sleep when none follows, so that an idle
//! session uses no CPU.
//!
//! Guarantees:
//! - [`run`](ThreadPool::run) calls each task exactly once and returns after the last call has returned.
//! - It never waits for a worker that did not take part: tasks of a worker that is asleep, or that the system
//!   scheduled away, are done by the others. With more threads than cores nothing spins at all.
//! - A panic in a task does not keep other tasks from running; afterwards the panic of the lowest task index
//!   continues in the caller. The pool stays usable.
//! - Several threads may call `run`: while one job is under way, jobs of other callers run on the thread that calls, as do
//!   jobs started inside a task. No caller ever waits for another one's job.
//!
//! The tasks are cut into one consecutive block per thread. A thread starts with its own block, so that it finds the
//! data of the last step in its cache, and then helps with the blocks of others.
//!
//! Left out on purpose: pinning threads to cores, priorities, and jobs that outlive the call.

#![allow(
    unsafe_code,
    reason = "tasks borrow from the caller's stack, which scoped threads alone cannot express in a pool"
)]

use std::{
    any::Any,
    cell::{Cell, UnsafeCell},
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
        },
    },
    thread,
    time::{Duration, Instant},
};

use planc_kernels::par::Parallel;
use thiserror::Error;

/// How long a worker waits actively for the next job before it sleeps: longer than the serial stretch between two
/// parallel steps, short against the time between two requests.
pub const SPIN: Duration = Duration::from_micros(50);

/// From when on an active wait offers its core to others: on a busy machine, the thread that is waited for may have
/// been put on the same one.
const YIELD_AFTER: Duration = Duration::from_micros(5);

/// The largest number of threads of a pool.
pub const MAX_THREADS: usize = 1024;

/// Why a pool could not be made.
#[derive(Debug, Error)]
pub enum PoolError {
    /// More threads than [`MAX_THREADS`].
    #[error("{requested} threads requested, the limit is {MAX_THREADS}")]
    TooManyThreads {
        /// The number asked for.
        requested: usize,
    },
    /// The system refused to start a thread.
    #[error("cannot start a worker thread: {0}")]
    Spawn(#[from] io::Error),
}

type Task<'a> = dyn Fn(usize) + Sync + 'a;

/// A pool of `threads - 1` workers; the thread that calls [`run`](Self::run) is the last one.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<thread::JoinHandle<()>>,
}

/// One word that says which job there is and who takes part in it, so that both change in one step:
///
/// ```text
/// bits 63..32  number of the job, modulo 2^32
/// bits 31..16  how many threads the job is for, the caller included
/// bit  15      OPEN: workers may still enter
/// bit  14      WAITING: the caller sleeps until the last worker has left
/// bit  13      SHUTDOWN: the pool is being dropped
/// bits 12..0   how many workers take part
/// ```
#[derive(Clone, Copy)]
struct State(u64);

const OPEN: u64 = 1 << 15;
const WAITING: u64 = 1 << 14;
const SHUTDOWN: u64 = 1 << 13;
const ACTIVE: u64 = SHUTDOWN - 1;

impl State {
    fn job(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn threads(self) -> usize {
        (self.0 >> 16) as usize & 0xffff
    }

    fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    fn active(self) -> u64 {
        self.0 & ACTIVE
    }

    /// The word that announces the next job.
    fn next(self, threads: usize) -> Self {
        Self(u64::from(self.job().wrapping_add(1)) << 32 | (threads as u64) << 16 | OPEN)
    }
}

/// The job under way. Written by the caller while nobody takes part, read by those who take part.
struct Job {
    /// The task function; valid while anybody takes part.
    task: Option<*const Task<'static>>,
    tasks: usize,
}

/// A value on cache lines of its own (two, because x86 processors fetch lines in pairs).
#[repr(align(128))]
struct Line<T>(T);

/// One thread's part of the pool.
struct Seat {
    /// The next task of this thread's block that nobody has taken.
    next: AtomicUsize,
    /// Whether the worker sleeps, or is about to.
    asleep: AtomicBool,
}

struct Shared {
    state: Line<AtomicU64>,
    /// How many workers have [`Seat::asleep`] set.
    sleepers: Line<AtomicUsize>,
    /// Whether a caller holds the pool.
    busy: Line<AtomicBool>,
    seats: Box<[Line<Seat>]>,
    job: UnsafeCell<Job>,
    /// The caller to wake when WAITING is set.
    waiter: Mutex<Option<thread::Thread>>,
    /// The panics of this job. All are kept until it has ended: dropping a payload can panic in turn.
    panics: Mutex<Vec<Panic>>,
    spin: Duration,
}

// SAFETY: all fields but `job` are `Sync`. `job` follows this protocol: it is written only by the caller that holds
// `busy`, while OPEN is not set and no worker is active (`run_shared`); it is read only by that caller and by workers
// that entered, that is, counted themselves active while OPEN was set. Announcing a job releases the write and entering
// acquires it; leaving releases the reads and the caller acquires them before it returns. The pointer in it is to a
// `Sync` closure that lives until then.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer in `job` is never dereferenced outside of a job.
unsafe impl Send for Shared {}

struct Panic {
    task: usize,
    payload: Box<dyn Any + Send>,
}

thread_local! {
    /// Whether this thread is running a task of some pool.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
}

/// Sets [`IN_TASK`] and restores it when dropped.
struct InTask(bool);

impl InTask {
    fn enter() -> Self {
        Self(IN_TASK.replace(true))
    }
}

impl Drop for InTask {
    fn drop(&mut self) {
        IN_TASK.set(self.0);
    }
}

impl ThreadPool {
    /// A pool of `threads` threads, the calling one included; 0 means 1, which starts no thread.
    ///
    /// # Errors
    /// [`PoolError`] if the number is above [`MAX_THREADS`] or the system refuses to start a thread.
    pub fn new(threads: usize) -> Result<Self, PoolError> {
        // Where threads share cores, an active wait takes the core from the thread that is waited for.
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::with_spin(threads, if threads <= cores { SPIN } else { Duration::ZERO })
    }

    /// As [`new`](Self::new), with a given time to wait actively.
    pub fn with_spin(threads: usize, spin: Duration) -> Result<Self, PoolError> {
        if threads > MAX_THREADS {
            return Err(PoolError::TooManyThreads { requested: threads });
        }
        let seat = || Line(Seat { next: AtomicUsize::new(0), asleep: AtomicBool::new(false) });
        let shared = Arc::new(Shared {
            state: Line(AtomicU64::new(0)),
            sleepers: Line(AtomicUsize::new(0)),
            busy: Line(AtomicBool::new(false)),
            seats: (0..threads.max(1)).map(|_| seat()).collect(),
            job: UnsafeCell::new(Job { task: None, tasks: 0 }),
            waiter: Mutex::new(None),
            panics: Mutex::new(Vec::new()),
            spin,
        });
        // Dropping the pool ends the workers that were started before one failed to.
        let mut pool = Self { shared, workers: Vec::new() };
        for seat in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let worker = thread::Builder::new().name(format!("planc-{seat}")).spawn(move || shared.work(seat))?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// How many threads work on a job, at least 1.
    pub fn threads(&self) -> usize {
        self.shared.seats.len()
    }

    /// Calls `task(0)`, ..., `task(tasks - 1)`, each once, and returns when all have returned.
    ///
    /// # Panics
    /// If tasks panicked, with the payload of the one with the lowest index, after all have finished.
    pub fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let threads = tasks.min(self.threads());
        if threads <= 1 || IN_TASK.get() || !self.shared.acquire() {
            run_inline(tasks, task);
        } else {
            self.run_shared(tasks, threads, task);
        }
    }

    /// Runs a job on the workers. The caller holds `busy`, which this gives back.
    fn run_shared(&self, tasks: usize, threads: usize, task: &Task<'_>) {
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. The pointer is dereferenced only by threads that take part in this job, and
        // this function does not return or unwind before all of them have left: nothing below panics, as tasks run
        // under `catch_unwind` and locks ignore poison.
        let task = unsafe { std::mem::transmute::<*const Task<'_>, *const Task<'static>>(task) };
        // SAFETY: this thread holds `busy`, OPEN is not set, and the last job ended with no worker active, so nobody
        // else accesses `job`.
        unsafe { *shared.job.get() = Job { task: Some(task), tasks } };
        for (seat, line) in shared.seats[..threads].iter().enumerate() {
            line.0.next.store(block_start(tasks, threads, seat), Relaxed);
        }
        let state = State(shared.state.0.load(Relaxed)).next(threads);
        // Sequentially consistent, as is the load of `sleepers`, and as are both accesses of a worker that goes to
        // sleep (in the other order): one of the two sees the other.
        shared.state.0.store(state.0, SeqCst);
        if shared.sleepers.0.load(SeqCst) > 0 {
            shared.wake(1..threads, &self.workers);
        }
        {
            let _in_task = InTask::enter();
            shared.take_part(0, threads);
        }
        shared.finish();
        let mut panics = std::mem::take(&mut *lock(&shared.panics));
        shared.busy.0.store(false, Release);
        if let Some(first) = (0..panics.len()).min_by_key(|&index| panics[index].task) {
            let first = panics.swap_remove(first);
            drop(panics);
            resume_unwind(first.payload);
        }
    }
}

impl Parallel for ThreadPool {
    fn threads(&self) -> usize {
        self.threads()
    }

    fn run(&self, tasks: usize, f: &(dyn Fn(usize) + Sync)) {
        self.run(tasks, f);
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // No job is under way: `run` borrows the pool.
        self.shared.state.0.fetch_or(SHUTDOWN, SeqCst);
        for worker in &self.workers {
            worker.thread().unpark();
        }
        for worker in self.workers.drain(..) {
            // Workers catch the panics of tasks, and have no others.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Takes the pool for one job, unless another caller has it.
    fn acquire(&self) -> bool {
        !self.busy.0.load(Relaxed) && self.busy.0.compare_exchange(false, true, Acquire, Relaxed).is_ok()
    }

    /// Wakes those of the given workers that sleep.
    fn wake(&self, seats: std::ops::Range<usize>, workers: &[thread::JoinHandle<()>]) {
        for seat in seats {
            if self.seats[seat].0.asleep.load(SeqCst) {
                workers[seat - 1].thread().unpark();
            }
        }
    }

    /// Runs tasks until all are taken, starting with those of `seat`.
    ///
    /// The thread must take part in the job: be its caller, or a worker that entered and has not left.
    fn take_part(&self, seat: usize, threads: usize) {
        // SAFETY: the thread takes part, so `job` was written before and is not written until it has left.
        let (task, tasks) = unsafe { ((*self.job.get()).task, (*self.job.get()).tasks) };
        let Some(task) = task else { return };
        // SAFETY: the closure lives until everybody who takes part has left, see `run_shared`.
        let task = unsafe { &*task };
        for victim in (seat..threads).chain(0..seat) {
            let next = &self.seats[victim].0.next;
            let end = block_start(tasks, threads, victim + 1);
            // Look before taking: a block that is done then costs no write to its owner's cache line.
            while next.load(Relaxed) < end {
                let index = next.fetch_add(1, Relaxed);
                if index >= end {
                    break;
                }
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| task(index))) {
                    lock(&self.panics).push(Panic { task: index, payload });
                }
            }
        }
    }

    /// Ends the job of the caller: lets nobody else enter, and waits until those who did have left.
    fn finish(&self) {
        let mut state = State(self.state.0.fetch_and(!OPEN, AcqRel) & !OPEN);
        let mut pause = Pause::new(self.spin);
        while state.active() > 0 {
            if !pause.spin() {
                *lock(&self.waiter) = Some(thread::current());
                state = State(self.state.0.fetch_or(WAITING, AcqRel));
                while state.active() > 0 {
                    thread::park();
                    state = State(self.state.0.load(Acquire));
                }
                lock(&self.waiter).take();
                return;
            }
            state = State(self.state.0.load(Acquire));
        }
    }

    /// The life of a worker.
    fn work(&self, seat: usize) {
        let _in_task = InTask::enter();
        let mut last = 0;
        loop {
            let state = self.wait(seat, last);
            if state.has(SHUTDOWN) {
                return;
            }
            last = state.job();
            if seat >= state.threads() || !self.enter(last) {
                continue;
            }
            self.take_part(seat, state.threads());
            let before = State(self.state.0.fetch_sub(1, AcqRel));
            if before.active() == 1 && before.has(WAITING) {
                // The caller may be gone already, and even have been followed by another: waking that one does no harm.
                if let Some(caller) = &*lock(&self.waiter) {
                    caller.unpark();
                }
            }
        }
    }

    /// Waits until there is another job than number `last`, or the pool shuts down.
    fn wait(&self, seat: usize, last: u32) -> State {
        let news = |state: State| state.job() != last || state.has(SHUTDOWN);
        let mut pause = Pause::new(self.spin);
        loop {
            let state = State(self.state.0.load(Acquire));
            if news(state) {
                return state;
            }
            if !pause.spin() {
                break;
            }
        }
        let asleep = &self.seats[seat].0.asleep;
        asleep.store(true, SeqCst);
        self.sleepers.0.fetch_add(1, SeqCst);
        let state = loop {
            let state = State(self.state.0.load(SeqCst));
            if news(state) {
                break state;
            }
            thread::park();
        };
        self.sleepers.0.fetch_sub(1, Relaxed);
        asleep.store(false, Relaxed);
        state
    }

    /// Counts this worker among those who take part in job number `job`, unless that job takes no more.
    fn enter(&self, job: u32) -> bool {
        self.state
            .0
            .try_update(AcqRel, Acquire, |word| {
                let state = State(word);
                (state.job() == job && state.has(OPEN)).then_some(word + 1)
            })
            .is_ok()
    }
}

/// An active wait that ends after some time.
struct Pause {
    limit: Duration,
    start: Option<Instant>,
    rounds: u32,
}

impl Pause {
    fn new(limit: Duration) -> Self {
        Self { limit, start: None, rounds: 0 }
    }

    /// Waits a few cycles; `false` when the time is over. The clock is read every 64 rounds, first after 64.
    fn spin(&mut self) -> bool {
        if self.limit.is_zero() {
            return false;
        }
        std::hint::spin_loop();
        self.rounds += 1;
        if self.rounds < 64 {
            return true;
        }
        self.rounds = 0;
        let elapsed = self.start.get_or_insert_with(Instant::now).elapsed();
        if elapsed > YIELD_AFTER {
            thread::yield_now();
        }
        elapsed < self.limit
    }
}

/// The first task of the block of thread `seat`: `tasks * seat / threads` without overflow.
fn block_start(tasks: usize, threads: usize, seat: usize) -> usize {
    tasks / threads * seat + tasks % threads * seat / threads
}

/// Runs all tasks here, with the same treatment of panics as on many threads.
fn run_inline(tasks: usize, task: &Task<'_>) {
    let mut first = None;
    for index in 0..tasks {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| task(index))) {
            first.get_or_insert(payload);
        }
    }
    if let Some(payload) = first {
        resume_unwind(payload);
    }
}

/// Locks, also after a panic elsewhere: the values behind these locks are always whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
