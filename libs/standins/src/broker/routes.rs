//! Which requests are answered, and by what. A client asks for this list first, and goes without what is not in it:
//! transactions, the newer protocol of groups and the deleting of records would be taken, and fail in the midst.

use rama::{
    Layer as _, Service as _,
    layer::{MapErrLayer, MapStateLayer},
};
use tansu_broker::{
    Error,
    service::{coordinator, storage},
};
use tansu_sans_io::{ApiKey as _, FetchRequest};
use tansu_service::{
    BytesFrameLayer, BytesFrameService, FrameRequestLayer, FrameRouteBuilder, FrameRouteService, TcpBytesLayer,
    TcpBytesService, TcpContext, TcpContextLayer, TcpContextService,
};

use super::{engine::Engine, fetch::FetchService, groups::Groups};

/// What serves one connection.
pub(super) type Connection = TcpContextService<TcpBytesService<BytesFrameService<FrameRouteService<(), Error>>, ()>>;

/// Makes the service of a connection, the same for all.
pub(super) fn connection(cluster: &str, engine: &Engine) -> Result<Connection, Error> {
    let asked = [
        storage::create_topics,
        storage::delete_topics,
        storage::describe_cluster,
        storage::describe_configs,
        fetch,
        storage::find_coordinator,
        storage::init_producer_id,
        storage::list_offsets,
        storage::metadata,
        storage::produce,
    ];
    let routes = asked
        .iter()
        .try_fold(FrameRouteService::<(), Error>::builder(), |routes, service| service(routes, engine.clone()))?;
    let routes = coordinator::services(routes, Groups::of(engine)?)?.build()?;
    Ok((
        TcpContextLayer::new(TcpContext::default().cluster_id(Some(cluster.to_owned()))),
        TcpBytesLayer::default(),
        BytesFrameLayer::default().with_sasl_config(None),
    )
        .into_layer(routes))
}

fn fetch(routes: FrameRouteBuilder<(), Error>, engine: Engine) -> Result<FrameRouteBuilder<(), Error>, Error> {
    let service =
        (MapErrLayer::new(Error::from), MapStateLayer::new(|_| engine), FrameRequestLayer::<FetchRequest>::new())
            .into_layer(FetchService)
            .boxed();
    Ok(routes.with_route(FetchRequest::KEY, service)?)
}
