//! The parts of a server that are made before its threads.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use mio::Waker;

use super::error::ServerError;
use super::process::{ProcessLaunch, ProcessSpec, Supervisor};
use super::settings::ServerSettings;
use super::shared::ServerShared;
use super::upgrade::{Entered, UPGRADE_VAR, duplicated};
use crate::base::pressure::Pressure;
use crate::net::{Listener, listen};

/// Lists the pressures of the queues that all connections feed: the user's own, and the mailboxes'.
pub(super) fn all_pressures(
    own: Vec<Arc<Pressure>>,
    shared: &ServerShared,
) -> Arc<[Arc<Pressure>]> {
    let mailboxes = shared.mailboxes.iter();
    let of_mailboxes = mailboxes.filter_map(|mailbox| mailbox.pressure());
    own.into_iter().chain(of_mailboxes.cloned()).collect()
}

/// Makes the listeners of a server: of its addresses, on which it listens anew but for those of the image
/// before, and of sockets that listen already.
///
/// Sockets of the image before whose address isn't wanted any more are closed; a server without addresses of
/// its own keeps them all.
pub(super) fn listeners(
    addresses: Vec<SocketAddr>,
    given: Vec<TcpListener>,
    entered: Option<&Entered>,
) -> Result<Vec<Listener>, ServerError> {
    let taken_over = entered.map(duplicated).transpose();
    let taken_over = taken_over.map_err(ServerError::system("take over a socket"))?;
    joined_listeners(addresses, given, taken_over.unwrap_or_default())
}

fn joined_listeners(
    addresses: Vec<SocketAddr>,
    given: Vec<TcpListener>,
    taken_over: Vec<TcpListener>,
) -> Result<Vec<Listener>, ServerError> {
    let keeps_all = addresses.is_empty();
    let of = |socket| Listener::of(socket).map_err(ServerError::system("take over a socket"));
    let taken_over = taken_over.into_iter().map(of);
    let mut taken_over = taken_over.collect::<Result<Vec<_>, _>>()?;
    let places = places(&addresses, &taken_over);
    let mut before: Vec<_> = taken_over.drain(..).map(Some).collect();
    let mut all = Vec::new();
    for (address, place) in addresses.into_iter().zip(places) {
        let kept = place.and_then(|place| before[place].take());
        let listened = kept.map_or_else(|| listen(address), Ok);
        all.push(listened.map_err(|source| ServerError::Listen { address, source })?);
    }
    for socket in given {
        all.push(of(socket)?);
    }
    for listener in before.into_iter().flatten() {
        match keeps_all {
            true => all.push(listener),
            false => tracing::info!(address = %listener.address, "not listened on any more"),
        }
    }
    Ok(all)
}

/// Finds for each address the listener of the image before; port 0 takes any port of its host that no
/// other address names.
fn places(addresses: &[SocketAddr], listeners: &[Listener]) -> Vec<Option<usize>> {
    let mut places = vec![None; addresses.len()];
    for takes_any_port in [false, true] {
        for (own, address) in addresses.iter().enumerate() {
            if (address.port() == 0) != takes_any_port {
                continue;
            }
            let fits = |listener: &Listener| match takes_any_port {
                true => listener.address.ip() == address.ip(),
                false => listener.address == *address,
            };
            let mut found = listeners.iter().enumerate();
            let found = found.find(|(at, one)| !places.contains(&Some(*at)) && fits(one));
            places[own] = found.map(|(at, _)| at);
        }
    }
    places
}

/// Makes the supervisor of the processes of these names.
pub(super) fn supervisor<'a>(
    (names, launch): (impl Iterator<Item = &'a str>, &ProcessLaunch),
    settings: &ServerSettings,
    waker: Arc<Waker>,
) -> io::Result<Supervisor> {
    let mut launch = launch.clone();
    // A process is no image of its server.
    launch.variables_withheld.push(UPGRADE_VAR.into());
    let specs = names.map(|name| Ok(ProcessSpec::new(name)?.with_launch(launch.clone())));
    let specs = specs.collect::<io::Result<Vec<_>>>()?;
    // A waker that fails is logged where the server itself uses it.
    Supervisor::new(
        specs,
        settings.process,
        Arc::new(move || drop(waker.wake())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn an_address_of_the_image_before_is_not_listened_on_twice() {
        let before = [(); 3].map(|()| TcpListener::bind(local(0)).unwrap());
        let [first, second, third] = before.each_ref().map(|one| one.local_addr().unwrap());
        let wanted = vec![local(0), third, local(0), local(0)];
        let all = joined_listeners(wanted, Vec::new(), before.into()).unwrap();
        let [any, own, more, new] = &all[..] else {
            panic!("{all:?}");
        };
        assert_eq!(
            [any.address, own.address, more.address],
            [first, third, second]
        );
        assert!(![first, second, third].contains(&new.address));
    }

    #[test]
    fn an_address_that_is_wanted_no_more_is_closed_and_all_stay_where_none_is_named() {
        let before = || [(); 2].map(|()| TcpListener::bind(local(0)).unwrap());
        let sockets = before();
        let [first, second] = sockets.each_ref().map(|one| one.local_addr().unwrap());
        let all = joined_listeners(vec![second], Vec::new(), sockets.into()).unwrap();
        assert_eq!(
            all.iter().map(|one| one.address).collect::<Vec<_>>(),
            [second]
        );
        let refused = std::net::TcpStream::connect(first).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let all = joined_listeners(Vec::new(), Vec::new(), before().into()).unwrap();
        assert_eq!(all.len(), 2);
    }
}
