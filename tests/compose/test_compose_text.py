import pytest

from mailer.compose.text import from_html


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two</p>", "One\n\nTwo\n"),
        ("<h1>Title</h1>words<br>more", "Title\n\nwords\nmore\n"),
        ("<p>  many \n spaces <b> here </b>!</p>", "many spaces here !\n"),
        ("<ul><li>one</li><li>two <b>bold</b></li></ul><p>end</p>", "- one\n- two bold\n\nend\n"),
        ("<ol><li>one<ul><li>inner</li></ul></li><li>two</li></ol>", "1. one\n  - inner\n2. two\n"),
        (
            "<table><tr><th>Order</th><td>48213</td></tr><tr><td>a</td><td>b</td><td>c</td></tr></table>",
            "Order: 48213\na | b | c\n",
        ),
        ("<table><tr><td><p>a</p></td><td><p>b</p></td></tr></table>", "a\n\nb\n"),
        ('<a href="https://x.example/?a=1&amp;b=2">Read</a>', "Read (https://x.example/?a=1&b=2)\n"),
        ('<a href="https://x.example/?a=1&copy=2">Read</a>', "Read (https://x.example/?a=1&copy=2)\n"),
        ('<a href="https://x.example/">https://x.example</a>', "https://x.example\n"),
        ('<a href="https://x.example">x.example</a>', "x.example\n"),
        ('<a href="mailto:a@x.example">a@x.example</a> <a href="tel:+1">call</a>', "a@x.example call (tel:+1)\n"),
        ('<a href="#top">Top</a><a href="/rel">Rel</a>', "TopRel\n"),
        ('<a href="https://x.example"></a>', ""),
        ('<a href="https://x.example"><img src="a.png" alt="Shop"></a>', "Shop (https://x.example)\n"),
        ('<img src="a.png"><img src="b.png" alt="">', ""),
        ("<style>p{}</style><script>x()</script><title>t</title><p>x</p><!-- no -->", "x\n"),
        ('<div style="display: none">no</div><div hidden>no</div><p>x</p>', "x\n"),
        ("&lt;b&gt; &amp;amp; &nbsp;&eacute; &#x1F389;", "<b> &amp;  é 🎉\n"),
        ("<pre>a\n  b</pre>", "a\n  b\n"),
        ("<p>one</p><hr><p>two</p>", "one\n\n---\n\ntwo\n"),
        ("<p>a</p><br><br><br><br><p>b</p>", "a\n\nb\n"),
        ("pre\u200b\u200c\u034fheader", "preheader\n"),
        ("", ""),
        ("<<<>>> <b", "<<<>>>\n"),
    ],
)
def test_html_becomes_readable_text(html: str, text: str) -> None:
    assert from_html(html) == text
