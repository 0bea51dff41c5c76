// Before the first paint, and so no module; and behind the box to write in, which takes its room first: a chat opens at its end.
{
  const scroller = document.getElementById("scroller");
  scroller.scrollTop = scroller.scrollHeight;
}
