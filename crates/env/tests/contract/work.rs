//! The contract of `Work`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use meridian_env::sim::InlineWork;
use meridian_env::{Class, Work, run};
use parking_lot::Mutex;

/// Runs a contract on real threads, and on simulated ones in virtual time.
fn on_both<F: Future<Output = ()>>(contract: impl Fn(Arc<dyn Work>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(contract(crate::real().env.work));
    let paused =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    paused.block_on(contract(crate::simulated().env.work));
    paused.block_on(contract(Arc::new(InlineWork)));
}

#[test]
fn every_job_runs_and_gives_back_its_value() {
    on_both(|work| async move {
        for class in Class::ALL {
            let jobs = (0..40).map(|n| run(&*work, class, move || n * n));
            assert_eq!(futures::future::join_all(jobs).await, (0..40).map(|n| n * n).collect::<Vec<_>>());
        }
    });
}

#[test]
fn jobs_of_a_class_of_width_one_run_in_order() {
    on_both(|work| async move {
        assert_eq!(Class::Flush.width(), 1);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let jobs = (0..100).map(|n| {
            let seen = Arc::clone(&seen);
            work.run(Class::Flush, Box::new(move || seen.lock().push(n)))
        });
        futures::future::join_all(jobs.collect::<Vec<_>>()).await;
        assert_eq!(*seen.lock(), (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn no_more_jobs_run_at_a_time_than_the_width() {
    on_both(|work| async move {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let jobs = (0..64).map(|_| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            run(&*work, Class::Log, move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
            })
        });
        futures::future::join_all(jobs).await;
        assert!(most.load(Ordering::SeqCst) <= Class::Log.width());
    });
}

#[test]
fn dropping_the_future_does_not_stop_the_job() {
    on_both(|work| async move {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        drop(work.run(Class::Compact, Box::new(move || sender.send(7).expect("someone waits"))));
        assert_eq!(receiver.await, Ok(7));
    });
}

#[test]
fn queued_jobs_run_after_their_work_is_dropped() {
    on_both(|work| async move {
        let jobs: Vec<_> = (0..10).map(|_| work.run(Class::Flush, Box::new(|| {}))).collect();
        drop(work);
        futures::future::join_all(jobs).await;
    });
}

#[test]
fn simulated_time_passes_with_jobs_and_is_the_same_for_the_same_seed() {
    let measure = |seed: u64| {
        let paused = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        paused.expect("a runtime").block_on(async {
            let env = meridian_env::sim::SimHost::new("n1", &meridian_env::Rng::from_seed(seed)).env();
            let (start, wall) = (env.clock.now(), env.clock.wall());
            let mut ends = Vec::new();
            for _ in 0..50 {
                run(&*env.work, Class::Log, || {}).await;
                ends.push((env.clock.now() - start).as_micros());
            }
            assert_eq!(env.clock.wall().nanos() - wall.nanos(), i64::try_from(ends[49] * 1_000).expect("small"));
            ends
        })
    };
    let ends = measure(1);
    assert_eq!(ends, measure(1));
    assert_ne!(ends, measure(2));
    let mean = ends[49] / 50;
    assert!((400..1_600).contains(&mean), "two waits of 400 us in the mean: {mean}");
}
