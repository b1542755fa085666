// The tests' own way in: counts of what the provider was asked, and faults at its token endpoint.

const COUNTED = { '/me': 'userinfo', '/jwks': 'jwks', '/.well-known/openid-configuration': 'discovery' };
const CHANGEABLE = ['access_token_ttl', 'id_token_ttl', 'rotate_refresh_tokens'];

function fresh() {
  return { requests: {}, successes: {}, failures: {}, userinfo: 0, jwks: 0, discovery: 0, max_parallel: 0 };
}

async function body(req) {
  let text = '';
  for await (const chunk of req) text += chunk;
  return text;
}

const count = (counts, name) => { counts[name] = (counts[name] ?? 0) + 1; };

export class Control {
  constructor(settings) {
    this.settings = settings;
    this.stats = fresh();
    this.fault = null;
    this.parallel = 0;
  }

  /**
   * The fault for this request, if one is set: `{ grant_type, times, delay_ms, status, error, drop }`.
   * `status` (with `error` as OAuth error code) answers without asking the provider; `drop` lets the provider act and then
   * closes the connection without an answer; `delay_ms` waits first. It holds for `times` requests, or until the next one is set.
   */
  takeFault(grantType) {
    const { fault } = this;
    if (!fault || (fault.grant_type && fault.grant_type !== grantType)) return {};
    if (fault.times !== undefined) {
      if (fault.times <= 0) return {};
      fault.times -= 1;
    }
    return fault;
  }

  async answer(ctx) {
    const text = await body(ctx.req);
    const asked = text ? JSON.parse(text) : {};
    switch (`${ctx.method} ${ctx.path}`) {
      case 'GET /control/stats': break;
      case 'POST /control/reset': this.stats = fresh(); this.fault = null; break;
      case 'POST /control/fail': this.fault = Object.keys(asked).length ? asked : null; break;
      case 'POST /control/settings':
        for (const name of CHANGEABLE) if (name in asked) this.settings[name] = asked[name];
        break;
      default: ctx.status = 404; return;
    }
    ctx.status = 200;
    ctx.body = this.stats;
  }

  async token(ctx, next) {
    // Read here and handed on as `req.body`, because a fault has to know the grant type first.
    const form = await body(ctx.req);
    ctx.req.body = form;
    const grantType = new URLSearchParams(form).get('grant_type') ?? 'none';
    count(this.stats.requests, grantType);
    this.parallel += 1;
    this.stats.max_parallel = Math.max(this.stats.max_parallel, this.parallel);
    try {
      await this.faulty(ctx, next, this.takeFault(grantType));
    } finally {
      this.parallel -= 1;
      count(ctx.status === 200 ? this.stats.successes : this.stats.failures, grantType);
    }
  }

  async faulty(ctx, next, fault) {
    if (fault.delay_ms) await new Promise((resolve) => { setTimeout(resolve, fault.delay_ms); });
    if (fault.status) {
      ctx.status = fault.status;
      ctx.body = { error: fault.error ?? 'temporarily_unavailable' };
      return;
    }
    await next();
    if (fault.drop) ctx.req.socket.destroy();
  }

  /** Koa middleware in front of the provider. */
  middleware() {
    return async (ctx, next) => {
      if (ctx.path.startsWith('/control/')) return this.answer(ctx);
      if (ctx.path in COUNTED) this.stats[COUNTED[ctx.path]] += 1;
      if (ctx.path === '/token' && ctx.method === 'POST') return this.token(ctx, next);
      return next();
    };
  }
}
