// A file of links, or its text, sent as it is: the town reads what other shorteners export.

const BYTES_MAX = 4 << 20

export function start(details, page) {
  const form = details.querySelector("form")
  const [file, text] = [form.querySelector("[type=file]"), form.querySelector("textarea")]
  const [button, progress, status] = [form.querySelector("button"), form.querySelector("progress"), form.querySelector("[role=status]")]
  const error = form.querySelector("#import-error")
  const result = details.querySelector(".imported")

  form.addEventListener("submit", async (event) => {
    event.preventDefault()
    complain("")
    const body = file.files[0] ?? text.value
    const size = body.size ?? new Blob([body]).size
    if (!size) return complain("Choose a file, or paste its text.")
    if (size > BYTES_MAX) return complain(`${(size / (1 << 20)).toFixed(1)} MiB; at most 4 MiB are taken. Send it in parts.`)
    const began = performance.now()
    const beat = setInterval(() => (status.textContent = `${Math.round((performance.now() - began) / 1000)} s; 10,000 links take a few seconds`), 1000)
    working(true)
    try {
      const headers = { "content-type": "text/csv" }
      const reply = await page.ask("api/links/import.csv", { method: "POST", body, headers })
      if (!reply.ok) return complain(await page.reasonOf(reply))
      show(await reply.json())
    } catch {
      complain("The town does not answer. Some lines may have been kept; import the file again, and those are found again.")
    } finally {
      clearInterval(beat)
      working(false)
    }
  })

  function working(does) {
    progress.hidden = !does
    button.disabled = does
    status.textContent = does ? "Sending" : ""
  }

  function complain(reason) {
    error.textContent = reason
    error.hidden = !reason
    text.toggleAttribute("aria-invalid", Boolean(reason))
    if (reason) text.setAttribute("aria-invalid", "true")
  }

  function show(made) {
    if (made.manage_key) page.key = made.manage_key
    const parts = [`${count(made.created)} made`, `${count(made.existing)} you had already`, `${count(made.refused)} refused`]
    result.replaceChildren(line("h2", `${parts.join(", ")}.`))
    if (made.stopped) result.append(line("p", `Stopped at line ${made.stopped_at_line}: ${made.stopped}. Import the rest again later.`, "notice late"))
    if (made.refusals.length) result.append(refusals(made))
    if (made.created + made.existing) result.append(toList())
    result.hidden = false
    result.focus()
    file.value = text.value = ""
  }

  function refusals(made) {
    const box = document.createElement("div")
    box.className = "wide"
    Object.assign(box, { tabIndex: 0, role: "region", ariaLabel: "Refused lines" })
    const table = document.createElement("table")
    const head = table.createTHead().insertRow()
    for (const name of ["Line", "Why it was refused"]) head.append(Object.assign(line("th", name), { scope: "col" }))
    const body = table.createTBody()
    for (const one of made.refusals) body.insertRow().append(line("td", String(one.line), "number"), line("td", one.reason))
    box.append(table)
    if (made.refused > made.refusals.length) box.append(line("p", `and ${count(made.refused - made.refusals.length)} more`, "soft"))
    return box
  }

  function toList() {
    const link = line("a", "Show the links", "button")
    link.href = page.address("links")
    return link
  }
}

function line(name, text, kind = "") {
  const made = document.createElement(name)
  made.textContent = text
  if (kind) made.className = kind
  return made
}

function count(number) {
  return number.toLocaleString("en")
}
