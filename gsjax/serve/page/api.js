// The server's HTTP API; see /api/v1/openapi.json.

// The token comes behind the #, which browsers do not send, and does not stay in the address.
let token = new URLSearchParams(location.hash.slice(1)).get("token");
if (token) history.replaceState(null, "", location.pathname);

async function call(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(`api/v1/${path}`, { ...options, headers });
  if (response.status === 401) {
    token = prompt("The server's token:");
    if (token) return call(path, options);
  }
  if (response.ok) return response;
  const text = await response.text();
  let message = `${response.status}: ${text}`;
  try {
    message = JSON.parse(text).error;
  } catch {} // a proxy's page, perhaps
  throw new Error(message);
}

export async function models() {
  return (await call("models")).json();
}

function form(fields) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Blob) body.append(name, value, name); // its own name stays here
    else if (value !== null) body.append(name, value);
  }
  return body;
}

// Returns a PNG of a picture whose format the browser does not know.
export async function preview(image) {
  return (await call("preview", { method: "POST", body: form({ image }) })).blob();
}

// Fills a picture; `told` is called with the state, and the crops that are done, of all.
export async function inpaint(fields, told, signal) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const job = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  let over = false;
  const watch = async () => {
    while (!over) {
      await new Promise((resolve) => setTimeout(resolve, 400));
      const { state, done, total } = await (await call(`progress/${job}`)).json();
      if (!over) told(state, done, total);
    }
  };
  watch().catch(() => {}); // the request itself says what is wrong
  try {
    const response = await call("inpaint", { method: "POST", body: form({ ...fields, job }), signal });
    const warnings = JSON.parse(response.headers.get("Gsjax-Warnings") ?? "[]");
    return { blob: await response.blob(), warnings };
  } finally {
    over = true;
  }
}
