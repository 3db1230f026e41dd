// A real OpenID provider (oidc-provider, the certified one) for the tests: started with a JSON configuration as its
// one argument, told what to do wrong by POST /control. It prints "ready" when it listens.
import { createServer } from 'node:http';
import {
  SignJWT, UnsecuredJWT, decodeJwt, exportJWK, exportSPKI, generateKeyPair, importJWK,
} from 'jose';
import Provider from 'oidc-provider';

const config = JSON.parse(process.argv[2]);
const issuer = `http://127.0.0.1:${config.port}`;
const alg = config.alg ?? 'RS256';
const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
const stranger = (await generateKeyPair(alg, { extractable: true })).privateKey;
const jwk = { ...(await exportJWK(privateKey)), alg, use: 'sig', kid: config.kid };
const state = { users: config.users, fault: null, calls: { jwks: 0, discovery: 0 } };

// What an ID token becomes when the provider errs, or is not the provider.
const faults = {
  audience: (claims) => sign({ ...claims, aud: 'another-client' }),
  audiences: (claims) => sign({ ...claims, aud: [claims.aud, 'another-client'], azp: claims.aud }),
  azp: (claims) => sign({ ...claims, azp: 'another-client' }),
  nonce: (claims) => sign({ ...claims, nonce: 'another-nonce' }),
  'no-nonce': ({ nonce, ...claims }) => sign(claims),
  expired: (claims) => sign({ ...claims, exp: claims.iat - 120, iat: claims.iat - 300 }),
  'no-expiry': ({ exp, ...claims }) => sign(claims),
  old: (claims) => sign({ ...claims, iat: claims.iat - 7200 }),
  future: (claims) => sign({ ...claims, iat: claims.iat + 600 }),
  issuer: (claims) => sign({ ...claims, iss: 'http://127.0.0.1:1' }),
  subject: (claims) => sign({ ...claims, sub: 'x'.repeat(300) }),
  'at-hash': (claims) => sign({ ...claims, at_hash: 'AAAAAAAAAAAAAAAAAAAAAA' }),
  stranger: (claims) => sign(claims, stranger),
  'unknown-key': (claims) => sign(claims, stranger, { alg, kid: 'nobody-knows-it' }),
  none: (claims) => new UnsecuredJWT(claims).encode(),
  hs256: async (claims) => sign(claims, new TextEncoder().encode(await exportSPKI(publicKey)), { alg: 'HS256', kid: config.kid }),
  secret: (claims) => sign(claims, new TextEncoder().encode(config.client.client_secret), { alg: 'HS256' }),
  garbage: () => 'not.a.token',
};

function sign(claims, key = privateKey, header = { alg, kid: config.kid }) {
  return new SignJWT(claims).setProtectedHeader(header).sign(key);
}

const provider = new Provider(issuer, {
  clients: [{
    grant_types: ['authorization_code'],
    response_types: ['code'],
    id_token_signed_response_alg: alg,
    ...config.client,
  }],
  jwks: { keys: [jwk] },
  cookies: { keys: ['only for tests'] },
  claims: {
    openid: ['sub', 'acr', 'amr', 'auth_time', 'sid'],
    profile: ['name', 'given_name', 'family_name'],
    email: ['email', 'email_verified'],
    groups: ['groups', 'roles', '_claim_names'],
  },
  scopes: ['openid', 'profile', 'email', 'groups'],
  acrValues: config.acr_values ?? [],
  conformIdTokenClaims: config.lean ?? true,
  pkce: { required: () => true },
  features: {
    devInteractions: { enabled: false },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: {
      enabled: true,
      logoutSource: (ctx, form) => { // its own would ask another host for a font
        ctx.body = `<!doctype html><html lang="en"><title>Sign out</title>${form}
          <button form="op.logoutForm" name="logout" value="yes">Yes, sign me out</button>`;
      },
    },
  },
  fetch: (url, { dispatcher, ...options }) => fetch(url, options), // to this machine, which it would refuse
  interactions: { url: (ctx, interaction) => `/login/${interaction.uid}` },
  findAccount: (ctx, id) => state.users[id] && {
    accountId: id,
    claims: () => ({ sub: id, ...state.users[id].claims }),
  },
  ttl: { Session: 3600, Grant: 3600, Interaction: 600, AccessToken: 600, AuthorizationCode: 60, IdToken: 600 },
});

async function body(req) {
  let text = '';
  for await (const part of req) text += part;
  return text;
}

provider.use(async (ctx, next) => {
  if (ctx.path === '/control') {
    Object.assign(state, JSON.parse(await body(ctx.req)));
    ctx.body = state;
  } else if (ctx.path === '/logout-token') {
    const { key, header, ...claims } = JSON.parse(await body(ctx.req));
    ctx.body = await sign(claims, key === 'stranger' ? stranger : privateKey, { alg, kid: config.kid, ...header });
  } else if (ctx.path.startsWith('/login/')) {
    const details = await provider.interactionDetails(ctx.req, ctx.res);
    if (ctx.method === 'GET') {
      ctx.type = 'html';
      ctx.body = `<!doctype html><html lang="en"><title>Sign in at the organisation</title>
        <form method="post"><label>Who are you? <input name="user"></label><button>Sign in</button></form>`;
      return;
    }
    const user = new URLSearchParams(await body(ctx.req)).get('user');
    let result = { error: 'access_denied', error_description: 'stopped there' };
    if (state.users[user]) {
      const grant = new provider.Grant({ accountId: user, clientId: details.params.client_id });
      grant.addOIDCScope('openid profile email groups');
      const { amr, acr } = state.users[user];
      result = { login: { accountId: user, amr, acr }, consent: { grantId: await grant.save() } };
    }
    ctx.status = 303;
    ctx.redirect(await provider.interactionResult(ctx.req, ctx.res, result));
  } else {
    if (ctx.path === '/jwks') state.calls.jwks += 1;
    if (ctx.path.startsWith('/.well-known')) state.calls.discovery += 1;
    if (state.fault === 'redirect' && ctx.path === '/token') {
      ctx.redirect('/elsewhere');
      return;
    }
    await next();
    if (ctx.path === '/token' && ctx.body?.id_token) {
      if (state.fault === 'huge') ctx.body.padding = 'x'.repeat(2_000_000);
      if (faults[state.fault]) ctx.body.id_token = await faults[state.fault](decodeJwt(ctx.body.id_token));
    }
    if (ctx.path === '/me' && state.fault === 'userinfo') ctx.body = { ...ctx.body, sub: 'somebody-else' };
  }
});
createServer(provider.callback()).listen(config.port, '127.0.0.1', () => console.log('ready'));
