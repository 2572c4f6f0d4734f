//! The routes, and the socket they are served on.

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::connections::{Decoder, Filter};
use super::metrics::Sources;
use super::model::{Events, Failure, Health, Maintained, Maintenance, Operation, Stop};
use super::overview::Overview;
use super::process::Process;
use super::{Request, exposition, health, metrics, stats};
use crate::cluster::pulse::Status;
use crate::cluster::vrrp::RouterStatus;
use crate::dataplane::{MapError, Readback};
use crate::health::Instruction;
use crate::health::pool::Selection;
use crate::web::{self, Bounds};

/// Those who measure come one at a time.
const EXPORT: Bounds = Bounds { at_once: 8, patience: Duration::from_secs(10) };
/// Pieces of a long answer on their way.
const PIECES: usize = 8;

/// What the handlers need.
#[derive(Clone, Debug)]
pub struct Api {
    pub requests: mpsc::Sender<Request>,
    pub readback: Readback,
    /// To the supervisor of health checks.
    pub checks: mpsc::UnboundedSender<Instruction>,
}

/// Answers on `socket` until `end` is ready and the requests under way are answered.
pub async fn serve(
    socket: UnixListener,
    api: Api,
    end: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    axum::serve(socket, router(api)).with_graceful_shutdown(end).await
}

/// Makes the socket. The caller holds the instance's lock, so one that is there belongs to nobody.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/services", get(services))
        .route("/v1/stats", get(read_stats))
        .route("/v1/connections", get(connections))
        .route("/v1/status", get(status))
        .route("/v1/health", get(read_health))
        .route("/v1/events", get(events))
        .route("/v1/metrics", get(read_metrics))
        .route("/v1/maintenance", post(maintain))
        .route("/v1/cluster", get(read_cluster).post(operate))
        .route("/v1/vrrp", get(read_vrrp))
        .route("/v1/reload", post(reload))
        .route("/v1/stop", post(stop))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is no such resource"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this resource has no such method")
        })
        .with_state(api)
}

/// An answer that is no success.
struct Problem {
    status: StatusCode,
    failure: Failure,
}

type Answer<T> = Result<Json<T>, Problem>;

impl Problem {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, failure: Failure::new(error) }
    }

    fn ending() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the agent is about to end")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(self.failure)).into_response()
    }
}

impl From<MapError> for Problem {
    fn from(error: MapError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

async fn ask<T>(api: &Api, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Problem> {
    let (sender, answer) = oneshot::channel();
    api.requests.send(request(sender)).await.map_err(|_| Problem::ending())?;
    answer.await.map_err(|_| Problem::ending())
}

/// Reads maps on a thread that may block.
async fn read<T: Serialize + Send + 'static>(
    api: Api,
    work: impl FnOnce(&Overview, &Readback) -> Result<T, MapError> + Send + 'static,
) -> Answer<T> {
    let overview = ask(&api, Request::Describe).await?;
    let read = spawn_blocking(move || work(&overview, &api.readback)).await;
    Ok(Json(read.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))??))
}

async fn read_health(State(api): State<Api>) -> Answer<Health> {
    let services = ask(&api, Request::Health).await?;
    let (sender, answer) = oneshot::channel();
    api.checks.send(Instruction::Describe(sender)).map_err(|_| Problem::ending())?;
    let (checks, pace) = answer.await.map_err(|_| Problem::ending())?;
    Ok(Json(health::health(&services, checks, pace)))
}

async fn read_metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let text = measure(api).await?;
    Ok(([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response())
}

/// All metrics, as text.
async fn measure(api: Api) -> Result<String, Problem> {
    let services = ask(&api, Request::Health).await?;
    let (sender, answer) = oneshot::channel();
    api.checks.send(Instruction::Describe(sender)).map_err(|_| Problem::ending())?;
    let (checks, pace) = answer.await.map_err(|_| Problem::ending())?;
    let overview = ask(&api, Request::Describe).await?;
    let routers = ask(&api, Request::Vrrp).await?;
    let cluster = ask(&api, Request::Cluster).await?;
    let measured = spawn_blocking(move || {
        let stats = stats::stats(&overview, &api.readback)?;
        let process = Process::read();
        let (overview, stats, services, checks) = (&overview, &stats, &services, &checks);
        let routers = &routers;
        let cluster = cluster.as_ref();
        let sources = Sources { overview, stats, services, checks, pace, routers, process, cluster };
        Ok::<_, MapError>(metrics::render(&sources))
    });
    Ok(measured
        .await
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))??)
}

/// Serves `/metrics`, and nothing else, to whoever can reach the listener.
pub(crate) async fn export(listener: TcpListener, api: Api, end: impl Future<Output = ()>) {
    let answer = |request: hyper::Request<()>| {
        let api = api.clone();
        async move {
            let (status, kind, body) = match (request.method().as_str(), request.uri().path()) {
                ("GET" | "HEAD", "/metrics") => match measure(api).await {
                    Ok(text) => (StatusCode::OK, exposition::CONTENT_TYPE, text),
                    Err(problem) => (problem.status, "text/plain", problem.failure.error + "\n"),
                },
                _ => (StatusCode::NOT_FOUND, "text/plain", "there is /metrics and nothing else\n".to_owned()),
            };
            let mut response = hyper::Response::new(Full::new(Bytes::from(body)));
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            response
        }
    };
    web::serve(listener, answer, EXPORT, end).await;
}

async fn maintain(State(api): State<Api>, Json(wanted): Json<Maintenance>) -> Answer<Maintained> {
    let Maintenance { server, service, mode } = wanted;
    let Some(selection) = Selection::parse(&server, service) else {
        let what = format!("{server} is no address, with or without a port; names are not looked up");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, what));
    };
    match ask(&api, |answer| Request::Maintain { selection, mode, answer }).await? {
        Ok(maintained) => Ok(Json(maintained)),
        Err(failure) => Err(Problem { status: StatusCode::UNPROCESSABLE_ENTITY, failure }),
    }
}

async fn read_cluster(State(api): State<Api>) -> Answer<Status> {
    let status = ask(&api, Request::Cluster).await?;
    status.map(Json).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "this director is in no cluster"))
}

async fn read_vrrp(State(api): State<Api>) -> Answer<Vec<RouterStatus>> {
    ask(&api, Request::Vrrp).await.map(Json)
}

async fn operate(State(api): State<Api>, Json(wanted): Json<Operation>) -> Answer<Operation> {
    let Operation { wish, group } = wanted.clone();
    match ask(&api, |answer| Request::Operate { wish, group, answer }).await? {
        Ok(()) => Ok(Json(wanted)),
        Err(failure) => Err(Problem { status: StatusCode::CONFLICT, failure }),
    }
}

/// Which events are asked for.
#[derive(Debug, Deserialize)]
struct Since {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

async fn events(State(api): State<Api>, Query(since): Query<Since>) -> Answer<Events> {
    let Since { after, limit } = since;
    let limit = limit.unwrap_or(usize::MAX);
    let entries = ask(&api, |answer| Request::Events { after, limit, answer }).await?;
    Ok(Json(Events { events: entries.into_iter().map(health::event).collect() }))
}

async fn services(State(api): State<Api>) -> impl IntoResponse {
    read(api, stats::services).await
}

async fn read_stats(State(api): State<Api>) -> impl IntoResponse {
    read(api, stats::stats).await
}

async fn status(State(api): State<Api>) -> impl IntoResponse {
    ask(&api, Request::Describe).await.map(|overview| Json(overview.status()))
}

async fn connections(
    State(api): State<Api>,
    filter: Result<Query<Filter>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(filter) = filter.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let overview = ask(&api, Request::Describe).await?;
    if let Some(name) = &filter.service
        && !overview.view.services.iter().any(|service| service.name == *name)
    {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no service {name}")));
    }
    let decoder = Decoder::new(&overview, filter);
    let (pieces, receiver) = mpsc::channel::<Result<Bytes, MapError>>(PIECES);
    spawn_blocking(move || {
        let written = decoder.write(&api.readback, |text| pieces.blocking_send(Ok(text.into())).is_ok());
        if let Err(error) = written {
            // The answer is cut short, so that nobody takes it for the whole.
            pieces.blocking_send(Err(error)).ok();
        }
    });
    let pieces = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response())
}

async fn reload(State(api): State<Api>) -> impl IntoResponse {
    refusable(ask(&api, Request::Reload).await)
}

async fn stop(State(api): State<Api>, body: Bytes) -> impl IntoResponse {
    let stop: Stop = if body.is_empty() {
        Stop::default()
    } else {
        serde_json::from_slice(&body)
            .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?
    };
    let keep_forwarding = stop.keep_forwarding;
    refusable(ask(&api, |done| Request::Stop { keep_forwarding, done }).await)
}

fn refusable<T>(answer: Result<Result<T, Failure>, Problem>) -> Answer<T> {
    match answer? {
        Ok(value) => Ok(Json(value)),
        Err(failure) => Err(Problem { status: StatusCode::UNPROCESSABLE_ENTITY, failure }),
    }
}
