//! Channels to nodes, opened at their first use and kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_env::{ChannelSettings, Env, channel};
use meridian_proto::v1::admin_client::AdminClient;
use meridian_proto::v1::shards_client::ShardsClient;
use meridian_types::limits;
use parking_lot::Mutex;
use tonic::transport::Channel;

/// A channel to a server at `host:port`: for programs that call one server's services by themselves.
pub fn connect(env: &Env, address: &str) -> Channel {
    channel(Arc::clone(&env.net), address, ChannelSettings::default())
}

/// What a channel carries. A reader may leave answers of scans unread for as long as its own client is slow; what it leaves
/// counts against the window of the whole connection, so proposals must not share it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Traffic {
    Calls,
    Scans,
}

/// Each stream of a scan has a window of its own, and no stream can use up the connection's: HTTP/2 allows no larger one.
const SCAN_STREAM_WINDOW: u32 = 1 << 20;
const SCAN_CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// One channel an address and kind of traffic.
#[derive(Debug)]
pub(crate) struct Channels {
    env: Env,
    open: Mutex<BTreeMap<(Arc<str>, Traffic), Channel>>,
}

impl Channels {
    pub(crate) fn new(env: Env) -> Self {
        Self { env, open: Mutex::default() }
    }

    fn channel(&self, address: &Arc<str>, traffic: Traffic) -> Channel {
        let settings = match traffic {
            Traffic::Calls => ChannelSettings::default(),
            Traffic::Scans => ChannelSettings {
                stream_window: SCAN_STREAM_WINDOW,
                connection_window: SCAN_CONNECTION_WINDOW,
                ..ChannelSettings::default()
            },
        };
        let open = || channel(Arc::clone(&self.env.net), address, settings);
        self.open.lock().entry((Arc::clone(address), traffic)).or_insert_with(open).clone()
    }

    /// For proposals and the watch.
    pub(crate) fn shards(&self, address: &Arc<str>) -> ShardsClient<Channel> {
        self.shards_over(address, Traffic::Calls)
    }

    /// For scans.
    pub(crate) fn scans(&self, address: &Arc<str>) -> ShardsClient<Channel> {
        self.shards_over(address, Traffic::Scans)
    }

    fn shards_over(&self, address: &Arc<str>, traffic: Traffic) -> ShardsClient<Channel> {
        ShardsClient::new(self.channel(address, traffic))
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
    }

    pub(crate) fn admin(&self, address: &Arc<str>) -> AdminClient<Channel> {
        AdminClient::new(self.channel(address, Traffic::Calls))
    }
}
