// A link's clicks as they come: server-sent events, read by hand, since they want the key in a
// header. Numbers change at once; the pictures are asked for again, at most once a second.

const WAIT_MS = [1_000, 2_000, 5_000, 10_000, 30_000]
const PICTURES_MS = 1_000

export async function start(section, page) {
  const { code, clicksKey: key } = section.dataset
  const live = section.querySelector("[data-live]")
  let total = Number(section.querySelector("[data-total]").textContent.replaceAll(",", ""))
  let drawing = null
  let failures = 0

  while (!page.left.aborted) {
    await seen(page.left)
    if (page.left.aborted) return
    try {
      await follow()
    } catch {
      if (page.left.aborted) return
    }
    if (document.hidden) continue
    live.textContent = "Not live: the town does not answer; it is asked again."
    await pause(WAIT_MS[Math.min(failures++, WAIT_MS.length - 1)])
  }

  async function follow() {
    const stop = new AbortController()
    const hide = () => document.hidden && stop.abort()
    document.addEventListener("visibilitychange", hide)
    try {
      const signal = AbortSignal.any([page.left, stop.signal])
      const reply = await page.ask(`api/${code}/clicks`, { key, signal })
      if (!reply.ok) throw new Error(reply.status)
      live.textContent = "Live"
      failures = 0
      for await (const counts of events(reply.body)) show(counts)
    } finally {
      document.removeEventListener("visibilitychange", hide)
    }
  }

  function show(counts) {
    section.querySelector("[data-total]").textContent = counts.total_clicks.toLocaleString("en")
    section.querySelector("[data-bots]").textContent = counts.bot_clicks.toLocaleString("en")
    if (counts.total_clicks !== total) draw()
    total = counts.total_clicks
  }

  function draw() {
    if (!section.querySelector("[data-analytics]")) return
    drawing ??= pause(PICTURES_MS).then(async () => {
      drawing = null
      const next = await page.fragment("fragments/clicks", { code, key }).catch(() => null)
      const shown = section.querySelector("[data-analytics]")
      if (!next || !shown) return
      for (const details of shown.querySelectorAll("details[open]")) {
        const same = next.querySelector(`#${details.id}`)
        if (same) same.open = true
      }
      const at = document.activeElement.closest("details")?.id
      shown.replaceWith(next)
      if (at) next.querySelector(`#${at} summary`)?.focus({ preventScroll: true })
    })
  }
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let text = ""
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    text += value
    const pieces = text.split("\n\n")
    text = pieces.pop()
    for (const piece of pieces) if (piece.startsWith("data: ")) yield JSON.parse(piece.slice(6))
  }
}

function seen(left) {
  if (!document.hidden) return Promise.resolve()
  return new Promise((done) => {
    document.addEventListener("visibilitychange", done, { once: true, signal: left })
    left.addEventListener("abort", done, { once: true })
  })
}

function pause(ms) {
  return new Promise((done) => setTimeout(done, ms))
}
