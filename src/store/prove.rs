//! What statements cost with a million rows in each table. `scripts/prove rows` runs it.
#![expect(clippy::print_stdout, reason = "the figures")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::expired::BATCH;
use super::testing::on_each_engine;
use super::{Expired, Store, StoreError, filling, plans};
use crate::clock::{Clock, Timestamp};
use crate::id::UserId;
use crate::model::page::{Cursor, PageRequest};

const ROWS: i64 = 1_000_000;
const LOOK_UPS: i64 = 2_000;
const PAGE: usize = 50;

#[tokio::test]
#[ignore = "takes minutes"]
async fn rows() {
    on_each_engine(async |store| {
        let is_postgres = store.postgres().is_some();
        let engine = if is_postgres { "PostgreSQL" } else { "SQLite" };
        println!("\n{engine}, {ROWS} rows in each table");
        let clock = Clock::system();
        let now = filling::fill(&store, ROWS).await;
        println!("filled in {} s", clock.elapsed().as_secs());
        // With the service's own settings; what PostgreSQL prefers depends on the size of tables.
        plans::expect_no_scan(&store, "SELECT 1").await;
        look_ups(&store, now).await;
        pages(&store, now).await;
        for expired in Expired::ALL {
            batches(&store, expired, now).await;
        }
    })
    .await;
}

async fn look_ups(store: &Store, now: Timestamp) {
    let step = ROWS / LOOK_UPS;
    // Rows of users and of addresses whose bans are in force.
    let user = |n: i64| UserId::parse(&filling::id(n * step + 2)).expect("an id");
    let address = |n: i64| {
        let low = u32::try_from(n * step + 1).expect("a small number");
        IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + low))
    };
    let outside: IpAddr = "2001:db8::1".parse().expect("an address");
    measure("one user, to compare", async |n| {
        store
            .find_user(&user(n))
            .await
            .map(|found| assert!(found.is_some()))
    })
    .await;
    measure("ban of a user", async |n| {
        let found = store.find_ban(Some(&user(n)), None, now).await;
        found.map(|ban| assert!(ban.is_some()))
    })
    .await;
    measure("ban of an IPv4 address", async |n| {
        let found = store.find_ban(None, Some(address(n)), now).await;
        found.map(|ban| assert!(ban.is_some()))
    })
    .await;
    measure("ban of a user or an IPv6 address", async |n| {
        let found = store.find_ban(Some(&user(n)), Some(outside), now).await;
        found.map(drop)
    })
    .await;
}

async fn pages(store: &Store, now: Timestamp) {
    for percent in [0, 90] {
        // What the tables' lists begin with at the other end is as far from this one.
        let after = |row: i64| Cursor {
            time: Timestamp::from_millis(now.millis() - ROWS + row),
            id: String::new(),
        };
        let page = |row| PageRequest {
            size: PAGE,
            after: Some(after(row)),
        };
        let users = page(ROWS * percent / 100);
        measure(&format!("{PAGE} users after {percent} %"), async |_| {
            let listed = store.list_users(&users).await?;
            assert_eq!(listed.items.len(), PAGE);
            Ok(())
        })
        .await;
        let bans = page(ROWS * (100 - percent) / 100);
        measure(&format!("{PAGE} bans after {percent} %"), async |_| {
            let listed = store.list_bans(&bans, now).await?;
            assert_eq!(listed.items.len(), PAGE);
            Ok(())
        })
        .await;
    }
}

async fn measure(what: &str, work: impl AsyncFn(i64) -> Result<(), StoreError>) {
    let mut times = Vec::new();
    for n in 0..LOOK_UPS {
        let clock = Clock::system();
        work(n).await.expect("answers");
        times.push(clock.elapsed());
    }
    println!("{what}: {}", spread(times));
}

/// Deletes all that has expired, and says how long a batch takes.
async fn batches(store: &Store, expired: Expired, now: Timestamp) {
    let (mut times, mut rows) = (Vec::new(), 0);
    loop {
        let clock = Clock::system();
        let deleted = store.delete_batch(expired, now).await.expect("deleted");
        times.push(clock.elapsed());
        rows += deleted;
        if deleted < BATCH {
            break;
        }
    }
    assert!(rows > 0, "{expired:?}: there was nothing to delete");
    let longest = times.iter().zip(1..).max().map_or(0, |(_, number)| number);
    println!(
        "{expired:?}: {rows} rows deleted, a batch {}, which is number {longest}",
        spread(times)
    );
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_micros();
    format!("p50 {} us, p99 {} us, max {} us", at(50), at(99), at(100))
}
