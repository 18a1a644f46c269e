//! All parts of a cluster in this process.

use meridian_env::Env;
use meridian_types::Failure;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::Parts;
use crate::serve;

type Ended<E> = Result<(), E>;

/// Nodes and the router, each a task, and how to stop it.
#[derive(Debug)]
pub(super) struct Here {
    env: Env,
    nodes: JoinSet<Ended<meridian_node::RunError>>,
    stops: Vec<watch::Sender<bool>>,
    router: Option<(JoinHandle<Ended<meridian_router::RunError>>, watch::Sender<bool>)>,
}

impl Here {
    pub(super) fn new(env: &Env) -> Self {
        Self { env: env.clone(), nodes: JoinSet::new(), stops: Vec::new(), router: None }
    }
}

/// How to stop a part, and what it waits for.
fn stopping() -> (watch::Sender<bool>, impl Future<Output = ()> + Send) {
    let (stop, mut stopped) = watch::channel(false);
    (stop, async move { drop(stopped.wait_for(|stop| *stop).await) })
}

impl Parts for Here {
    fn start_node(&mut self, _name: &str, config: meridian_node::Config) -> Result<(), Failure> {
        let (stop, stopped) = stopping();
        self.nodes.spawn(meridian_node::run(self.env.clone(), config, |_| {}, stopped));
        self.stops.push(stop);
        Ok(())
    }

    fn start_router(&mut self, config: meridian_router::Config) -> Result<(), Failure> {
        let (stop, stopped) = stopping();
        let task = tokio::spawn(meridian_router::run(self.env.clone(), config, |_| {}, stopped));
        self.router = Some((task, stop));
        Ok(())
    }

    async fn ended(&mut self) -> Failure {
        let router = async {
            match &mut self.router {
                Some((task, _)) => serve::router_ended(task.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            Some(ended) = self.nodes.join_next() => serve::node_ended(ended),
            failure = router => failure,
        }
    }

    async fn stop(&mut self) {
        if let Some((task, stop)) = self.router.take() {
            stop.send_replace(true);
            if !task.is_finished() {
                drop(task.await);
            }
        }
        for stop in self.stops.drain(..) {
            stop.send_replace(true);
            self.nodes.join_next().await;
        }
    }
}
