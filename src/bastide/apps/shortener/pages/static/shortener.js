// The browser remembers one key, so that all links made in it belong together. Pages come from forms
// that carry it in their body; the script sends the same forms for a part of the page, and starts
// what the part asks for: an element's data-module names a module, whose `start(element, page)` gets
// what stands below in `page`. Nothing but this page's own address is asked.

const KEY = "bastide.shortener.key"

function part() {
  return document.getElementById("part")
}

let left = new AbortController()

const page = {
  get key() {
    return localStorage.getItem(KEY) ?? ""
  },
  set key(value) {
    localStorage.setItem(KEY, value)
  },
  /** Aborted as soon as the part is replaced. */
  get left() {
    return left.signal
  },
  address(path) {
    return new URL(path, new URL(part().dataset.root, location.href))
  },
  /** A door of the API. `key` "": as nobody. */
  ask(path, { key = page.key, ...more } = {}) {
    const headers = { ...(key && { authorization: `Bearer ${key}` }), ...more.headers }
    return fetch(page.address(path), { signal: left.signal, ...more, headers })
  },
  /** A fragment of HTML, by a form's fields. */
  async fragment(path, fields) {
    const headers = { accept: "text/html" }
    const reply = await fetch(page.address(path), { method: "POST", headers, body: new URLSearchParams(fields), signal: left.signal })
    if (!reply.ok) throw new Error(`${path} answered ${reply.status}`)
    const parsed = new DOMParser().parseFromString(await reply.text(), "text/html")
    return parsed.body.firstElementChild
  },
  clicks(count) {
    return count === 1 ? "1 click" : `${count.toLocaleString("en")} clicks`
  },
  send,
  tell,
  renew: start,
}

/** What a problem says (RFC 9457), or what its status does. */
export async function reasonOf(reply) {
  const problem = await reply.json().catch(() => ({}))
  return problem.detail ?? problem.title ?? `The town answered ${reply.status}.`
}
page.reasonOf = reasonOf

// Parts of pages

async function send(form, submitter, { focus = true } = {}) {
  const fields = new URLSearchParams(new FormData(form, submitter))
  form.setAttribute("aria-busy", "true")
  if (submitter) submitter.disabled = true
  try {
    const reply = await fetch(addressOf(form), { method: "POST", headers: { accept: "text/html" }, body: fields })
    const told = new DOMParser().parseFromString(await reply.text(), "text/html")
    const next = told.getElementById("part")
    if (next) take(next, told.title, focus)
    else tell(told.querySelector(".problem h1")?.textContent ?? "It was refused.", told.querySelector(".problem .detail")?.textContent)
    return reply.ok
  } catch {
    tell("The town does not answer.", "Nothing is known of what you sent: look whether it was done before you send it again.")
    return false
  } finally {
    form.removeAttribute("aria-busy")
    if (submitter) submitter.disabled = false
  }
}

/** A field called "action" would hide the form's own. */
function addressOf(form) {
  return new URL(form.getAttribute("action"), location.href)
}

function take(next, title, focus) {
  left.abort()
  left = new AbortController()
  const node = document.importNode(next, true)
  part().replaceWith(node)
  document.title = title
  start(node)
  if (!focus) return
  const place = node.querySelector("[aria-invalid=true]") ?? node.querySelector("h1")
  if (place.matches("h1")) place.tabIndex = -1
  place.focus({ preventScroll: place.matches("h1") })
}

function tell(title, detail = "") {
  let notice = part().querySelector(":scope > .failed")
  if (!notice) {
    notice = document.createElement("p")
    notice.className = "notice wrong failed"
    notice.setAttribute("role", "alert")
    part().prepend(notice)
  }
  notice.textContent = `${title} ${detail}`.trim()
  notice.scrollIntoView({ block: "nearest" })
}

document.addEventListener("submit", (event) => {
  const form = event.target
  if (form.dataset.goes !== undefined) {
    event.preventDefault()
    location.assign(page.address(form.dataset.goes))
  } else if (form.dataset.swaps !== undefined) {
    event.preventDefault()
    send(form, event.submitter)
  }
})

// Times are shown, and taken, in the reader's own zone

const EXACT = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" })
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "your own time"

function localTime(at) {
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16)
}
page.localTime = localTime

function localise(root) {
  for (const time of root.querySelectorAll("time[data-exact]")) {
    time.title = time.textContent
    time.textContent = EXACT.format(new Date(time.dateTime))
  }
  for (const input of root.querySelectorAll("input[data-utc]")) {
    if (input.value) input.value = localTime(new Date(`${input.value}Z`))
    const hint = document.getElementById(`${input.id}-hint`)
    if (hint) hint.textContent = hint.textContent.replace("UTC", ZONE)
  }
}

document.addEventListener("formdata", (event) => {
  for (const input of event.target.querySelectorAll("input[data-utc]")) {
    if (input.value) event.formData.set(input.name, new Date(input.value).toISOString())
  }
})

// What stands in the page, or came into it

function start(root) {
  const made = root.querySelector("[data-made-key]")
  if (made) {
    page.key = made.dataset.madeKey
    // Loaded again, it is the link's page: sent again, the form would make another.
    history.replaceState(null, "", page.address(`links/${made.dataset.made}`))
  }
  for (const input of root.querySelectorAll("input[data-key]")) input.value ||= page.key
  localise(root)
  for (const element of root.querySelectorAll("[data-module]")) {
    import(element.dataset.module).then((module) => module.start(element, page))
  }
  open(root.querySelector("form[data-opens-itself]"))
}

/** What the browser's key opens need not be asked for. */
async function open(form) {
  if (!form) return
  if (page.key) await send(form, null, { focus: false })
  delete form.dataset.opensItself
  const without = form.isConnected && !page.key && form.parentElement.querySelector("[data-without-key]")
  if (without) without.hidden = false
}

start(part())
